{{- define "nats-connector.own" -}}
{{- $values := .Values }}
gateway: {{ $values.gateway_url | quote }}
basicAuth: {{ $values.basic_auth }}
brokerPorts: {{ include "tributary.ports" (dict "addresses" $values.broker_host "default" "4222") }}
settings:
  broker_host: {{ $values.broker_host | quote }}
  topics: {{ $values.topics | quote }}
  topic_delimiter: {{ $values.topic_delimiter | quote }}
  stream: {{ $values.stream | quote }}
  durable: {{ $values.durable | quote }}
  upstream_timeout: {{ $values.upstream_timeout | quote }}
  rebuild_interval: {{ $values.rebuild_interval | quote }}
  asynchronous_invocation: {{ $values.asynchronous_invocation }}
  content_type: {{ $values.content_type | quote }}
  print_response: {{ $values.print_response }}
  print_response_body: {{ $values.print_response_body }}
  tls: {{ $values.natsTLS.enabled }}
  {{- range $setting, $key := include "nats-connector.authKeys" . | fromYaml }}
  {{ $setting }}: /var/secrets/nats-auth/{{ $key }}
  {{- end }}
  {{- range $setting, $key := include "nats-connector.tlsKeys" . | fromYaml }}
  {{ $setting }}: /var/secrets/nats-tls/{{ $key }}
  {{- end }}
secrets:
  {{- include "nats-connector.secret" (dict "secret" $values.natsAuth.secret "folder" "nats-auth" "keys" (include "nats-connector.authKeys" .)) | indent 2 }}
  {{- include "nats-connector.secret" (dict "secret" $values.natsTLS.secret "folder" "nats-tls" "keys" (include "nats-connector.tlsKeys" .)) | indent 2 }}
triggers:
  {{- if $values.keda.enabled }}
  - type: nats-jetstream
    metadata:
      natsServerMonitoringEndpoint: {{ include "nats-connector.monitor" . | quote }}
      account: {{ $values.jetstreamMonitor.account | quote }}
      stream: {{ required "keda needs a stream to watch: set `stream`" $values.stream | quote }}
      consumer: {{ required "keda needs a consumer to watch: set `durable` or `jetstreamMonitor.consumer`" ($values.jetstreamMonitor.consumer | default $values.durable) | quote }}
      lagThreshold: {{ $values.keda.threshold }}
  {{- end }}
{{- end }}

{{/* Which setting is which key of a secret; nothing where there is no secret. */}}
{{- define "nats-connector.authKeys" -}}
{{- with .Values.natsAuth }}
{{- if .secret }}
{{- range $setting, $key := dict "credentials_file" .credentialsKey "nkey_file" .nkeyKey "token_file" .tokenKey "username_file" .usernameKey "password_file" .passwordKey }}
{{- if $key }}
{{ $setting }}: {{ $key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nats-connector.tlsKeys" -}}
{{- with .Values.natsTLS }}
{{- if .secret }}
{{- range $setting, $key := dict "tls_ca_file" .caKey "tls_cert_file" .certKey "tls_key_file" .keyKey }}
{{- if $key }}
{{ $setting }}: {{ $key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{- define "nats-connector.secret" -}}
{{- $folder := .folder }}
{{- with .keys | fromYaml }}
- secret: {{ $.secret | quote }}
  items:
    {{- range values . | uniq | sortAlpha }}
    - {key: {{ . | quote }}, path: {{ $folder }}/{{ . }}}
    {{- end }}
{{- end }}
{{- end }}

{{- define "nats-connector.monitor" -}}
{{- $first := regexReplaceAll "^[a-z]+://" (.Values.broker_host | splitList "," | first | trim) "" | splitList ":" | first }}
{{- .Values.jetstreamMonitor.endpoint | default (printf "%s:8222" $first) }}
{{- end }}
