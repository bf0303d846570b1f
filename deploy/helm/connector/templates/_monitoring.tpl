{{/* Headless: it gives the pods of a StatefulSet their names, and a ServiceMonitor its targets. */}}
{{- define "tributary.service" -}}
apiVersion: v1
kind: Service
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  clusterIP: None
  # Metrics are of most interest while a pod is not ready.
  publishNotReadyAddresses: true
  selector:
    {{- include "tributary.selector" .root | nindent 4 }}
  ports:
    - name: admin
      port: {{ .root.Values.adminPort }}
      targetPort: admin
{{- end }}

{{- define "tributary.serviceMonitor" -}}
{{- $monitor := .root.Values.serviceMonitor }}
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
    {{- with $monitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "tributary.selector" .root | nindent 6 }}
  endpoints:
    - port: admin
      path: /metrics
      {{- with $monitor.interval }}
      interval: {{ . }}
      {{- end }}
{{- end }}
