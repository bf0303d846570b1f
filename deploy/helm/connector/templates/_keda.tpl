{{/* Replicas by what waits at the broker. The charts whose broker can tell have `keda` among their values. */}}
{{- define "tributary.scales" -}}
{{- if and .root.Values.keda (.root.Values.keda | default dict).enabled }}yes{{ end }}
{{- end }}

{{- define "tributary.scaling" -}}
{{- $keda := .root.Values.keda }}
{{- $reference := $keda.authenticationRef }}
{{- if and .own.kedaSecrets (not $reference) }}
{{- $reference = include "tributary.fullname" .root }}
---
apiVersion: keda.sh/v1alpha1
kind: TriggerAuthentication
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  secretTargetRef:
    {{- toYaml .own.kedaSecrets | nindent 4 }}
{{- end }}
---
apiVersion: keda.sh/v1alpha1
kind: ScaledObject
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  scaleTargetRef:
    apiVersion: apps/v1
    kind: {{ ternary "StatefulSet" "Deployment" (.own.stable | default false) }}
    name: {{ include "tributary.fullname" .root }}
  minReplicaCount: {{ $keda.minReplicas }}
  maxReplicaCount: {{ $keda.maxReplicas }}
  pollingInterval: {{ $keda.pollingInterval }}
  cooldownPeriod: {{ $keda.cooldownPeriod }}
  triggers:
    {{- range .own.triggers }}
    - type: {{ .type }}
      metadata:
        {{- range $name, $value := .metadata }}
        {{ $name }}: {{ include "tributary.text" $value | quote }}
        {{- end }}
      {{- with $reference }}
      authenticationRef:
        name: {{ . }}
      {{- end }}
    {{- end }}
    {{- with $keda.extraTriggers }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
