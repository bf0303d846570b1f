{{/* What is said after an installation: how to see what the connector does, and what it waits for. */}}
{{- define "tributary.notes" -}}
{{- $root := .root }}
{{- $kubectl := printf "kubectl --namespace %s" $root.Release.Namespace -}}
{{ $root.Chart.Name }} runs in the namespace {{ $root.Release.Namespace }}:

  {{ $kubectl }} get pods --selector app.kubernetes.io/instance={{ $root.Release.Name }}
  {{ $kubectl }} logs --selector app.kubernetes.io/instance={{ $root.Release.Name }}

What is called and what is not well stands on its page, http://127.0.0.1:{{ $root.Values.adminPort }}, after

  {{ $kubectl }} port-forward {{ ternary "statefulset" "deployment" (.own.stable | default false) }}/{{ include "tributary.fullname" $root }} {{ $root.Values.adminPort }}
{{- $secrets := list }}
{{- if .own.basicAuth }}
{{- $secrets = append $secrets $root.Values.basicAuthSecret }}
{{- end }}
{{- $made := ternary (include "tributary.fullname" $root) "" (not (empty .own.secretData)) }}
{{- range .own.secrets }}
{{- $secrets = append $secrets .secret }}
{{- end }}
{{- with without ($secrets | uniq) $made }}

Its pods start when there {{ ternary "is the secret" "are the secrets" (eq (len .) 1) }} {{ join ", " . }}.
{{- end }}
{{- if regexMatch "^ghcr\\.io/openfaas(ltd)?/" (default "" $root.Values.image) }}

The values name the image {{ $root.Values.image }}, which is of OpenFaaS' own connector;
{{ include "tributary.image" (dict "root" $root "images" list) }} runs in its place. Take the line out.
{{- end }}
{{- end }}
