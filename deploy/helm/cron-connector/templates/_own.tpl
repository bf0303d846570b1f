{{- define "cron-connector.own" -}}
{{- $values := .Values }}
{{- if $values.iam.enabled }}
{{- fail "iam.enabled: the connector does not speak the tokens of OpenFaaS IAM; use basicAuth" }}
{{- end }}
{{- $leased := eq (include "cron-connector.leased" .) "yes" }}
gateway: {{ $values.gatewayURL | quote }}
basicAuth: {{ $values.basicAuth }}
images:
  {{- if $values.openfaasPro }}
  - {{ $values.pro.image | quote }}
  {{- end }}
  - {{ $values.image | quote }}
kubernetes: {{ $leased }}
settings:
  asynchronous_invocation: {{ $values.asyncInvocation }}
  content_type: {{ $values.contentType | quote }}
  rebuild_interval: {{ $values.rebuildInterval | quote }}
  timezone: {{ $values.timezone | quote }}
  debug: {{ $values.logs.debug }}
  log_encoding: {{ $values.logs.format | quote }}
  print_response: {{ $values.printResponse }}
  {{- if $leased }}
  lease: {{ include "tributary.fullname" . }}
  lease_duration: {{ $values.lease.duration | quote }}
{{- else }}
# Two pods without a lease would both call, even if only for the moment of an update.
strategy: {type: Recreate}
{{- end }}
{{- end }}

{{- define "cron-connector.leased" -}}
{{- if or .Values.lease.enabled (gt (int .Values.replicas) 1) }}yes{{ end }}
{{- end }}
