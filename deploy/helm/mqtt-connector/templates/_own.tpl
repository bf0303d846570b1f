{{- define "mqtt-connector.own" -}}
{{- $values := .Values }}
{{- $made := and $values.authPassword (not $values.authSecret) }}
{{- $port := ternary (ternary "8883" "443" (regexMatch "^(ssl|tls|mqtts):" $values.broker)) (ternary "80" "1883" (hasPrefix "ws:" $values.broker)) (regexMatch "^(ssl|tls|mqtts|wss):" $values.broker) }}
gateway: {{ $values.gateway_url | quote }}
basicAuth: {{ $values.basic_auth }}
brokerPorts: {{ include "tributary.ports" (dict "addresses" $values.broker "default" $port) }}
# A pod's client id is made from its number, and its session at the broker outlives it.
stable: true
env:
  - name: replica
    valueFrom: {fieldRef: {fieldPath: metadata.name}}
settings:
  broker: {{ $values.broker | quote }}
  topic: {{ $values.topic | quote }}
  topics: {{ $values.topics | quote }}
  id: {{ $values.clientID | quote }}
  qos: {{ $values.qos }}
  clean: {{ $values.clean }}
  trim_channel_key: {{ $values.trimChannelKey }}
  content_type: {{ $values.contentType | quote }}
  upstream_timeout: {{ $values.upstream_timeout | quote }}
  rebuild_interval: {{ $values.rebuild_interval | quote }}
  asynchronous_invocation: {{ $values.asyncInvoke }}
  print_response: {{ $values.print_response }}
  print_response_body: {{ $values.print_response_body }}
  {{- if $values.authSecret }}
  username_file: /var/secrets/broker/username
  password_file: /var/secrets/broker/password
  {{- else }}
  user: {{ $values.authUser | quote }}
  {{- if $made }}
  password_file: /var/secrets/broker/password
  {{- end }}
  {{- end }}
  {{- if $values.caSecret }}
  ca_file: /var/secrets/broker-ca/broker-ca
  {{- end }}
  {{- if $values.certSecret }}
  cert_file: /var/secrets/broker-cert/broker-cert
  key_file: /var/secrets/broker-key/broker-key
  {{- end }}
{{- if $made }}
secretData:
  password: {{ $values.authPassword | quote }}
{{- end }}
secrets:
  {{- with $values.authSecret }}
  - secret: {{ . | quote }}
    items:
      - {key: username, path: broker/username}
      - {key: password, path: broker/password}
  {{- end }}
  {{- if $made }}
  - secret: {{ include "tributary.fullname" . }}
    items:
      - {key: password, path: broker/password}
  {{- end }}
  {{- range $key, $secret := dict "broker-ca" $values.caSecret "broker-cert" $values.certSecret "broker-key" $values.keySecret }}
  {{- if $secret }}
  - secret: {{ $secret | quote }}
    items:
      - {key: {{ $key }}, path: {{ $key }}/{{ $key }}}
  {{- end }}
  {{- end }}
{{- end }}
