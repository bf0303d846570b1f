{{/* Names and labels as OpenFaaS' charts have them, so that dashboards and scripts find what they look for. */}}
{{- define "tributary.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "tributary.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride }}
{{- $full := ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) }}
{{- default $full .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* What pods are selected by. The release is part of it: two of them must not take each other's pods for theirs. */}}
{{- define "tributary.selector" -}}
app: {{ include "tributary.name" . }}
component: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "tributary.labels" -}}
{{- $chart := printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" -}}
{{ include "tributary.selector" . }}
chart: {{ $chart }}
heritage: {{ .Release.Service }}
release: {{ .Release.Name }}
app.kubernetes.io/name: {{ include "tributary.name" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: {{ .Chart.Name }}
app.kubernetes.io/part-of: openfaas
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ $chart }}
{{- end }}

{{- define "tributary.metadata" -}}
name: {{ .name | default (include "tributary.fullname" .root) }}
namespace: {{ .root.Release.Namespace | quote }}
labels:
  {{- include "tributary.labels" .root | nindent 2 }}
{{- end }}

{{/*
The image: that of the first of `images` that names one which is not OpenFaaS' own. A values file that was written for
OpenFaaS' chart names its image, which would understand neither the probes nor half of the settings.
*/}}
{{- define "tributary.image" -}}
{{- $chosen := "" }}
{{- range .images }}
{{- if and . (not $chosen) (not (regexMatch "^ghcr\\.io/openfaas(ltd)?/" .)) }}
{{- $chosen = . }}
{{- end }}
{{- end }}
{{- default (printf "tributary/%s:%s" .root.Chart.Name .root.Chart.AppVersion) $chosen }}
{{- end }}
