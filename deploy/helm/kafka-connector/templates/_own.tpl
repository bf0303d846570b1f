{{- define "kafka-connector.own" -}}
{{- $values := .Values }}
{{- $brokers := $values.brokerHost | default $values.brokerHosts }}
{{- $sasl := or $values.saslAuth $values.sasl }}
gateway: {{ $values.gatewayURL | quote }}
basicAuth: {{ $values.basic_auth }}
brokerPorts: {{ include "tributary.ports" (dict "addresses" $brokers "default" "9092") }}
stable: {{ $values.staticMembership }}
settings:
  broker_hosts: {{ $brokers | quote }}
  topics: {{ $values.topics | quote }}
  group: {{ $values.group | quote }}
  ordering: {{ $values.ordering }}
  initial_offset: {{ include "tributary.text" $values.initialOffset | quote }}
  max_bytes: {{ include "tributary.text" $values.maxBytes | quote }}
  log_sessions: {{ $values.sessionLogging }}
  upstream_timeout: {{ $values.upstreamTimeout | quote }}
  rebuild_interval: {{ $values.rebuildInterval | quote }}
  asynchronous_invocation: {{ $values.asyncInvocation }}
  content_type: {{ $values.contentType | quote }}
  debug: {{ $values.logs.debug }}
  log_encoding: {{ $values.logs.format | quote }}
  print_request_body: {{ $values.printRequestBody }}
  print_response: {{ $values.printResponse }}
  print_response_body: {{ $values.printResponseBody }}
  tls: {{ $values.tls }}
  {{- if $sasl }}
  username_file: /var/secrets/broker-username/broker-username
  password_file: /var/secrets/broker-password/broker-password
  {{- end }}
  {{- if $values.caSecret }}
  ca_file: /var/secrets/broker-ca/broker-ca
  {{- end }}
  {{- if $values.certSecret }}
  cert_file: /var/secrets/broker-cert/broker-cert
  key_file: /var/secrets/broker-key/broker-key
  {{- end }}
{{- with include "kafka-connector.secrets" . | trim }}
secrets:
  {{- range fromYamlArray . }}
  - secret: {{ .secret | quote }}
    items:
      - {key: {{ .key }}, path: {{ .key }}/{{ .key }}}
  {{- end }}
kedaSecrets:
  {{- range fromYamlArray . }}
  - {parameter: {{ .parameter }}, name: {{ .secret | quote }}, key: {{ .key }}}
  {{- end }}
{{- end }}
{{- if $values.staticMembership }}
env:
  - name: group_instance_id
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
{{- else }}
# A pod beside the others would only move their partitions twice.
strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 0, maxUnavailable: 1}}
{{- end }}
triggers:
  {{- range include "kafka-connector.watchedTopics" . | fromJsonArray }}
  - type: kafka
    metadata:
      bootstrapServers: {{ $brokers | quote }}
      consumerGroup: {{ $values.group | quote }}
      {{- with . }}
      topic: {{ . | quote }}
      {{- end }}
      lagThreshold: {{ $values.keda.threshold }}
      offsetResetPolicy: {{ ternary "latest" "earliest" (eq (toString $values.initialOffset) "newest") }}
      tls: {{ ternary "enable" "disable" $values.tls }}
      {{- if $sasl }}
      sasl: {{ $values.settings.sasl_mechanism | default "PLAIN" | replace "PLAIN" "plaintext" | replace "-" "_" | lower }}
      {{- end }}
  {{- end }}
{{- end }}

{{/* The secrets of the connection: each has one key, which is a file of that name, and a parameter of KEDA's. */}}
{{- define "kafka-connector.secrets" -}}
{{- $values := .Values }}
{{- if or $values.saslAuth $values.sasl }}
- {secret: {{ $values.brokerUsernameSecret | quote }}, key: broker-username, parameter: username}
- {secret: {{ $values.brokerPasswordSecret | quote }}, key: broker-password, parameter: password}
{{- end }}
{{- with $values.caSecret }}
- {secret: {{ . | quote }}, key: broker-ca, parameter: ca}
{{- end }}
{{- with $values.certSecret }}
- {secret: {{ . | quote }}, key: broker-cert, parameter: cert}
{{- end }}
{{- with $values.keySecret }}
- {secret: {{ . | quote }}, key: broker-key, parameter: key}
{{- end }}
{{- end }}

{{/* The topics whose lag KEDA looks at. One that is empty stands for all of the group: nobody lists what a pattern matches. */}}
{{- define "kafka-connector.watchedTopics" -}}
{{- $topics := list }}
{{- range splitList "," (.Values.topics | default "") }}
{{- $topics = append $topics (trim .) }}
{{- end }}
{{- if or (not (compact $topics)) (regexMatch "(^|,) *\\^" (.Values.topics | default "")) }}
{{- $topics = list "" }}
{{- end }}
{{- compact $topics | default (list "") | toJson }}
{{- end }}
