{{/* A value as the text of an environment variable. Numbers of a values file are floats, and would end in e+06. */}}
{{- define "tributary.text" -}}
{{- if kindIs "float64" . }}{{ int64 . }}{{ else if not (kindIs "invalid" .) }}{{ . }}{{ end }}
{{- end }}

{{/*
The settings of the connector: those of its values, the ones that the chart itself depends on, and on top of both what
`settings` says.
*/}}
{{- define "tributary.settings" -}}
{{- $settings := dict "gateway_url" .own.gateway "admin_port" .root.Values.adminPort }}
{{- $_ := set $settings "grace_period" (printf "%ss" (include "tributary.text" .root.Values.terminationGracePeriodSeconds)) }}
{{- if .own.basicAuth }}
{{- $settings = merge $settings (dict "basic_auth" true "secret_mount_path" "/var/secrets") }}
{{- end }}
{{- $chosen := .own.settings | default dict }}
{{- range $name, $value := .root.Values.settings }}
{{- $_ := set $chosen $name $value }}
{{- end }}
{{- range $name, $value := $chosen }}
{{- if ne (include "tributary.text" $value) "" }}
{{- $_ := set $settings $name $value }}
{{- end }}
{{- end }}
{{- toYaml $settings }}
{{- end }}

{{- define "tributary.environment" -}}
{{- $settings := include "tributary.settings" . | fromYaml }}
{{- range $name, $value := $settings }}
- name: {{ $name }}
  value: {{ include "tributary.text" $value | quote }}
{{- end }}
{{- range .own.env }}
{{- if not (hasKey $settings .name) }}
- {{ toYaml . | nindent 2 | trim }}
{{- end }}
{{- end }}
{{- with .root.Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* The keys of secrets that are mounted, as the sources of one volume. */}}
{{- define "tributary.secretSources" -}}
{{- if .own.basicAuth }}
- secret:
    name: {{ .root.Values.basicAuthSecret }}
{{- end }}
{{- range .own.secrets }}
- secret:
    name: {{ .secret }}
    items:
      {{- toYaml .items | nindent 6 }}
{{- end }}
{{- end }}
