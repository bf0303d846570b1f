{{/* The pods: those of a StatefulSet where they have to keep their names, else those of a Deployment. */}}
{{- define "tributary.workload" -}}
{{- $values := .root.Values }}
{{- $strategy := $values.strategy | default .own.strategy }}
apiVersion: apps/v1
kind: {{ ternary "StatefulSet" "Deployment" (.own.stable | default false) }}
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  {{- if ne (include "tributary.scales" .) "yes" }}
  replicas: {{ $values.replicas }}
  {{- end }}
  selector:
    matchLabels:
      {{- include "tributary.selector" .root | nindent 6 }}
  {{- if .own.stable }}
  serviceName: {{ include "tributary.fullname" .root }}
  # Replicas do not wait for each other: each serves what it can.
  podManagementPolicy: Parallel
  {{- end }}
  {{- with $strategy }}
  {{ ternary "updateStrategy" "strategy" ($.own.stable | default false) }}:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  template:
    {{- include "tributary.pod" . | nindent 4 }}
{{- end }}

{{- define "tributary.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
stringData:
  {{- range $key, $value := .own.secretData }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
{{- end }}
