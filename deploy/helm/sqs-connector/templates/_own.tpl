{{- define "sqs-connector.own" -}}
{{- $values := .Values }}
{{- $queues := ternary "" $values.queueURL (eq $values.queueURL "https://") }}
gateway: {{ $values.gatewayURL | quote }}
basicAuth: {{ $values.basic_auth }}
brokerPorts: [443]
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
  {{- range splitList "," (printf "%s,%s" $queues $values.topics) }}
  {{- with trim . }}
  - type: aws-sqs-queue
    metadata:
      queueURL: {{ . | quote }}
      queueLength: {{ $values.keda.threshold }}
      awsRegion: {{ regexFind "sqs\\.[a-z0-9-]+\\." . | trimPrefix "sqs." | trimSuffix "." | default $values.awsDefaultRegion | quote }}
  {{- end }}
  {{- end }}
{{- end }}
