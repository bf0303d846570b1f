{{/* Who the pods are, and whom they may talk to. */}}
{{- define "tributary.makesAccount" -}}
{{- if or .root.Values.serviceAccount.create (and .own.kubernetes (not .root.Values.serviceAccount.name)) }}yes{{ end }}
{{- end }}

{{- define "tributary.accountName" -}}
{{- if .root.Values.serviceAccount.name }}
{{- .root.Values.serviceAccount.name }}
{{- else if eq (include "tributary.makesAccount" .) "yes" }}
{{- include "tributary.fullname" .root }}
{{- end }}
{{- end }}

{{- define "tributary.account" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "tributary.metadata" (dict "root" .root "name" (include "tributary.accountName" .)) | nindent 2 }}
  {{- with .root.Values.serviceAccount.annotations }}
  annotations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
automountServiceAccountToken: false
{{- end }}

{{- define "tributary.disruptionBudget" -}}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  maxUnavailable: {{ .root.Values.podDisruptionBudget.maxUnavailable }}
  selector:
    matchLabels:
      {{- include "tributary.selector" .root | nindent 6 }}
{{- end }}

{{/* The ports of addresses that are separated by commas, as a list; `default` is that of an address without one. */}}
{{- define "tributary.ports" -}}
{{- $default := .default }}
{{- $ports := list }}
{{- range .addresses | splitList "," }}
{{- $address := regexReplaceAll "^[a-z]+://" (trim .) "" | splitList "/" | first }}
{{- if $address }}
{{- $ports = append $ports (regexFind ":[0-9]+$" $address | trimPrefix ":" | default $default | int) }}
{{- end }}
{{- end }}
{{- $ports | uniq | toJson }}
{{- end }}

{{- define "tributary.networkPolicy" -}}
{{- $policy := .root.Values.networkPolicy }}
{{- $web := ternary "443" "80" (hasPrefix "https:" .own.gateway) }}
{{- $ports := include "tributary.ports" (dict "addresses" .own.gateway "default" $web) | fromJsonArray }}
{{- $ports = concat $ports ($policy.brokerPorts | default .own.brokerPorts | default list) }}
{{- if .own.kubernetes }}
{{- $ports = concat $ports (list 443 6443) }}
{{- end }}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  {{- include "tributary.metadata" . | nindent 2 }}
spec:
  podSelector:
    matchLabels:
      {{- include "tributary.selector" .root | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
    - ports:
        - port: {{ .root.Values.adminPort }}
      {{- with $policy.scrapeFrom }}
      from:
        {{- toYaml . | nindent 8 }}
      {{- end }}
  egress:
    - ports:
        - port: 53
          protocol: UDP
        - port: 53
          protocol: TCP
        {{- range $ports | uniq }}
        - port: {{ . }}
        {{- end }}
    {{- with $policy.extraEgress }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end }}
