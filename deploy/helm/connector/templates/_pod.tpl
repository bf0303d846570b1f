{{- define "tributary.pod" -}}
{{- $values := .root.Values }}
{{- $sources := include "tributary.secretSources" . | trim -}}
metadata:
  labels:
    {{- include "tributary.selector" .root | nindent 4 }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    prometheus.io/scrape: {{ $values.prometheusScrape | quote }}
    prometheus.io/port: {{ $values.adminPort | quote }}
    {{- with .own.secretData }}
    # Pods are replaced when the secret that the chart makes has changed.
    tributary/secret: {{ toJson . | sha256sum | trunc 16 | quote }}
    {{- end }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- with include "tributary.accountName" . }}
  serviceAccountName: {{ . }}
  {{- end }}
  automountServiceAccountToken: {{ .own.kubernetes | default false }}
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ $values.terminationGracePeriodSeconds }}
  {{- with $values.podSecurityContext }}
  securityContext:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: connector
      image: {{ include "tributary.image" (dict "root" .root "images" (.own.images | default (list $values.image))) }}
      imagePullPolicy: {{ $values.imagePullPolicy }}
      env:
        {{- include "tributary.environment" . | trim | nindent 8 }}
      {{- with $values.extraEnvFrom }}
      envFrom:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      ports:
        - name: admin
          containerPort: {{ $values.adminPort }}
      {{- include "tributary.probe" (dict "name" "livenessProbe" "path" "/healthz" "probe" $values.livenessProbe) | nindent 6 }}
      {{- include "tributary.probe" (dict "name" "readinessProbe" "path" "/readyz" "probe" $values.readinessProbe) | nindent 6 }}
      {{- with $values.securityContext }}
      securityContext:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- with $values.resources }}
      resources:
        {{- toYaml . | nindent 8 }}
      {{- end }}
      {{- if or $sources $values.extraVolumeMounts }}
      volumeMounts:
        {{- if $sources }}
        - name: secrets
          mountPath: /var/secrets
          readOnly: true
        {{- end }}
        {{- with $values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      {{- end }}
  {{- if or $sources $values.extraVolumes }}
  volumes:
    {{- if $sources }}
    - name: secrets
      projected:
        sources:
          {{- $sources | nindent 10 }}
    {{- end }}
    {{- with $values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- end }}
  {{- with $values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with $values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "tributary.probe" -}}
{{- if .probe.enabled -}}
{{ .name }}:
  httpGet:
    path: {{ .path }}
    port: admin
  {{- omit .probe "enabled" | toYaml | nindent 2 }}
{{- end }}
{{- end }}
