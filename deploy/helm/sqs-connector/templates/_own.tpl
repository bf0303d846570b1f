{{- define "sqs-connector.own" -}}
{{- $values := .Values }}
{{- $queues := ternary "" $values.queueURL (eq $values.queueURL "https://") }}
gateway: {{ $values.gatewayURL | quote }}
basicAuth: {{ $values.basic_auth }}
brokerPorts: {{ include "sqs-connector.ports" $values }}
settings:
  queue_url: {{ $queues | quote }}
  topics: {{ $values.topics | quote }}
  visibility_timeout: {{ $values.visibilityTimeout | quote }}
  wait_time: {{ $values.waitTime | quote }}
  max_messages: {{ include "tributary.text" $values.maxMessages | quote }}
  upstream_timeout: {{ $values.upstreamTimeout | quote }}
  rebuild_interval: {{ $values.rebuildInterval | quote }}
  asynchronous_invocation: {{ $values.asyncInvocation }}
  content_type: {{ $values.contentType | quote }}
  debug: {{ $values.logs.debug }}
  log_encoding: {{ $values.logs.format | quote }}
  print_request_body: {{ $values.printRequestBody }}
  print_response: {{ $values.printResponse }}
  print_response_body: {{ $values.printResponseBody }}
{{- with $values.awsCredentialsSecret }}
secrets:
  - secret: {{ . | quote }}
    items:
      - {key: {{ . | quote }}, path: aws-credentials/{{ . }}}
{{- end }}
env:
  {{- with $values.awsCredentialsSecret }}
  - {name: AWS_SHARED_CREDENTIALS_FILE, value: /var/secrets/aws-credentials/{{ . }}}
  {{- end }}
  {{- with $values.awsDefaultRegion }}
  - {name: AWS_DEFAULT_REGION, value: {{ . | quote }}}
  {{- end }}
triggers:
  {{- if and $values.keda.enabled (not $values.keda.extraTriggers) (not (printf "%s%s" $queues $values.topics)) }}
  {{- fail "keda needs queues to watch: set `queueURL` or `topics`" }}
  {{- end }}
  {{- range splitList "," (printf "%s,%s" $queues $values.topics) }}
  {{- with trim . }}
  {{- if and $values.keda.enabled (hasPrefix "arn:" .) }}
  {{- fail (printf "keda knows queues by URL or name, not by ARN: %s" .) }}
  {{- end }}
  - type: aws-sqs-queue
    metadata:
      queueURL: {{ . | quote }}
      queueLength: {{ $values.keda.threshold }}
      awsRegion: {{ regexFind "sqs\\.[a-z0-9-]+\\." . | trimPrefix "sqs." | trimSuffix "." | default $values.awsDefaultRegion | quote }}
  {{- end }}
  {{- end }}
{{- end }}

{{/* The ports of queues' URLs, that of the endpoint, where all others are, and that of the node's own credentials. */}}
{{- define "sqs-connector.ports" -}}
{{- $ports := list }}
{{- range splitList "," (printf "%s,%s,%s" .queueURL .topics (.settings.endpoint_url | default "https://aws")) }}
{{- if contains "://" . }}
{{- $web := ternary "80" "443" (hasPrefix "http:" (trim .)) }}
{{- $ports = concat $ports (include "tributary.ports" (dict "addresses" . "default" $web) | fromJsonArray) }}
{{- end }}
{{- end }}
{{- if not .awsCredentialsSecret }}
{{- $ports = append $ports 80 }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}
