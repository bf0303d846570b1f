{{/*
Everything that a release is made of.

  root  the chart's own context
  own   what its source needs, as a dictionary:
        settings       settings of the connector by name; those that are empty are left at their defaults
        gateway        the gateway's address
        basicAuth      whether the gateway asks for credentials
        secrets        list of {secret, items}: keys of secrets, and the files they become below /var/secrets
        secretData     keys and values of a secret that the chart makes
        env            more variables, as a container has them
        stable         whether pods keep their names: a StatefulSet in place of a Deployment
        strategy       how pods are replaced where `strategy` says nothing
        brokerPorts    the ports of the broker
        kubernetes     whether the connector talks to Kubernetes
        triggers       what KEDA looks at
*/}}
{{- define "tributary.all" -}}
{{- include "tributary.check" . }}
{{- include "tributary.workload" . }}
{{- if .own.secretData }}
---
{{ include "tributary.secret" . }}
{{- end }}
{{- if eq (include "tributary.makesAccount" .) "yes" }}
---
{{ include "tributary.account" . }}
{{- end }}
{{- if or .own.stable .root.Values.serviceMonitor.enabled }}
---
{{ include "tributary.service" . }}
{{- end }}
{{- if .root.Values.serviceMonitor.enabled }}
---
{{ include "tributary.serviceMonitor" . }}
{{- end }}
{{- if .root.Values.podDisruptionBudget.enabled }}
---
{{ include "tributary.disruptionBudget" . }}
{{- end }}
{{- if .root.Values.networkPolicy.enabled }}
---
{{ include "tributary.networkPolicy" . }}
{{- end }}
{{- if eq (include "tributary.scales" .) "yes" }}
{{ include "tributary.scaling" . }}
{{- end }}
{{- end }}

{{/* What no schema can say. */}}
{{- define "tributary.check" -}}
{{- $values := .root.Values }}
{{- if ne (empty $values.certSecret) (empty $values.keySecret) }}
{{- fail "certSecret and keySecret belong together: a client certificate is of no use without its private key" }}
{{- end }}
{{- end }}
