{{/* Names. 46 characters: the longest suffix, -weights-xxxxxxxx, still fits into 63. */}}
{{- define "comfyui-vace.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 46 | trimSuffix "-" -}}
{{- end -}}

{{- define "comfyui-vace.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "comfyui-vace.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 46 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 46 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.serviceAccountName" -}}
{{- if .Values.serviceAccount.name -}}
{{- .Values.serviceAccount.name -}}
{{- else if .Values.serviceAccount.create -}}
{{- include "comfyui-vace.fullname" . -}}
{{- else -}}
default
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.tokenSecret" -}}
{{- .Values.auth.existingSecret | default (printf "%s-token" (include "comfyui-vace.fullname" .)) -}}
{{- end -}}

{{- define "comfyui-vace.tlsSecret" -}}
{{- .Values.tls.existingSecret | default (printf "%s-tls" (include "comfyui-vace.fullname" .)) -}}
{{- end -}}

{{/* existing, certManager, selfSigned or none: who gives the certificate. */}}
{{- define "comfyui-vace.tlsFrom" -}}
{{- if .Values.tls.existingSecret -}}existing
{{- else if .Values.tls.certManager.enabled -}}certManager
{{- else if .Values.tls.selfSigned -}}selfSigned
{{- else -}}none
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.caKey" -}}
{{- if .Values.tls.caKey -}}{{ .Values.tls.caKey }}
{{- else if eq (include "comfyui-vace.tlsFrom" .) "selfSigned" -}}ca.crt
{{- end -}}
{{- end -}}

{{/* Selectors hold these and nothing else: ACS rewrites its own labels, and a selector with one
     would have the pods made again and again. Argument: (list root component). */}}
{{- define "comfyui-vace.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "comfyui-vace.name" $root | quote }}
app.kubernetes.io/instance: {{ $root.Release.Name | quote }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "comfyui-vace.labels" -}}
{{- $root := index . 0 -}}
{{- with omit $root.Values.commonLabels "app.kubernetes.io/name" "app.kubernetes.io/instance" "app.kubernetes.io/component" "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" }}
{{- toYaml . }}
{{ end -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
{{ include "comfyui-vace.selector" . }}
{{- end -}}

{{/* Labels of a pod: one map, so that no key comes twice. Argument:
     (list root component extra). helm.sh/chart is left out: a new chart version alone must not
     restart a pod that makes a video. */}}
{{- define "comfyui-vace.podLabels" -}}
{{- $root := index . 0 -}}
{{- $labels := dict -}}
{{- if $root.Values.acs.enabled -}}
{{- $_ := set $labels "alibabacloud.com/compute-class" "general-purpose" -}}
{{- $_ := set $labels "alibabacloud.com/compute-qos" "default" -}}
{{- if $root.Values.acs.explicit -}}
{{- $_ := set $labels "alibabacloud.com/acs" "true" -}}
{{- end -}}
{{- if and (eq (index . 1) "comfyui") (gt (int $root.Values.gpu.count) 0) -}}
{{- $_ := set $labels "alibabacloud.com/compute-class" $root.Values.acs.computeClass -}}
{{- $_ := set $labels "alibabacloud.com/compute-qos" $root.Values.acs.computeQos -}}
{{- if eq $root.Values.acs.computeClass "gpu" -}}
{{- $_ := set $labels "alibabacloud.com/gpu-model-series" $root.Values.acs.gpuSeries -}}
{{- end -}}
{{- with $root.Values.acs.gpuDriverVersion -}}
{{- $_ := set $labels "alibabacloud.com/gpu-driver-version" . -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $ours := include "comfyui-vace.selector" . | fromYaml -}}
{{- toYaml (mergeOverwrite (dict) $root.Values.commonLabels $labels (index . 2) $ours) -}}
{{- end -}}

{{/* Annotations of a pod. Argument: (list root extra); empty where there is none. */}}
{{- define "comfyui-vace.podAnnotations" -}}
{{- $root := index . 0 -}}
{{- $annotations := dict -}}
{{- if and $root.Values.acs.enabled $root.Values.acs.networkPolicyAgent -}}
{{- $_ := set $annotations "alibabacloud.com/enable-network-policy-agent" "true" -}}
{{- end -}}
{{- $all := mergeOverwrite (dict) $annotations (index . 1) -}}
{{- if $all }}{{ toYaml $all }}{{ end -}}
{{- end -}}

{{/* repository[:tag][@digest]; whether that is allowed is looked at in _checks.tpl. */}}
{{- define "comfyui-vace.image" -}}
{{- .repository -}}
{{- with .tag }}:{{ . }}{{ end -}}
{{- with .digest }}@{{ . }}{{ end -}}
{{- end -}}

{{- define "comfyui-vace.pullSecrets" -}}
{{- with .Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . | quote }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "comfyui-vace.gpuResource" -}}
{{- if .Values.gpu.resourceName -}}
{{- .Values.gpu.resourceName -}}
{{- else if and .Values.acs.enabled (regexMatch "^(P16EN|PPU)" .Values.acs.gpuSeries) -}}
alibabacloud.com/ppu
{{- else -}}
nvidia.com/gpu
{{- end -}}
{{- end -}}

{{/* Requests equal limits, so that the pod is Guaranteed. Argument: (list resources gpuName count). */}}
{{- define "comfyui-vace.resources" -}}
{{- $resources := index . 0 -}}
{{- range $kind := list "requests" "limits" }}
{{ $kind }}:
  cpu: {{ $resources.cpu | quote }}
  memory: {{ $resources.memory }}
  ephemeral-storage: {{ $resources.ephemeralStorage }}
  {{- if gt (len $) 1 }}
  {{- if gt (int (index $ 2)) 0 }}
  {{ index $ 1 }}: {{ index $ 2 | quote }}
  {{- end }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "comfyui-vace.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "comfyui-vace.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
privileged: false
capabilities:
  drop: [ALL]
{{- end -}}

{{/* What every pod has. Argument: (list root uid). */}}
{{- define "comfyui-vace.podBase" -}}
{{- $root := index . 0 -}}
serviceAccountName: {{ include "comfyui-vace.serviceAccountName" $root }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "comfyui-vace.podSecurity" (index . 1) | nindent 2 }}
{{- include "comfyui-vace.pullSecrets" $root }}
{{- end -}}

{{/* Where a pod may run. Argument: the values of the component, and more node labels. */}}
{{- define "comfyui-vace.placement" -}}
{{- $values := index . 0 -}}
{{- with $values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with mergeOverwrite (dict) (index . 1) $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* Names by which the Service is reached inside the cluster, as a JSON list. */}}
{{- define "comfyui-vace.serviceNames" -}}
{{- $name := include "comfyui-vace.fullname" . -}}
{{- $spaced := printf "%s.%s" $name .Release.Namespace -}}
{{- list $name $spaced (printf "%s.svc" $spaced) (printf "%s.svc.%s" $spaced .Values.clusterDomain) "localhost" | toJson -}}
{{- end -}}

{{/* All host names and addresses of the service, as a JSON list. */}}
{{- define "comfyui-vace.hosts" -}}
{{- $hosts := concat .Values.gateway.allowedHosts (include "comfyui-vace.serviceNames" . | fromJsonArray) (list "127.0.0.1") -}}
{{- if and .Values.ingress.enabled .Values.ingress.host -}}
{{- $hosts = append $hosts .Values.ingress.host -}}
{{- end -}}
{{- $hosts | uniq | toJson -}}
{{- end -}}

{{/* Splits hosts: {"names": […], "addresses": […]}. */}}
{{- define "comfyui-vace.hostsByKind" -}}
{{- $names := list -}}
{{- $addresses := list -}}
{{- range include "comfyui-vace.hosts" . | fromJsonArray -}}
{{- if or (contains ":" .) (regexMatch "^[0-9.]+$" .) -}}
{{- $addresses = append $addresses . -}}
{{- else -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{- dict "names" $names "addresses" $addresses | toJson -}}
{{- end -}}

{{/* Where a folder lies: {"claim": name, "subPath": folder} or {} for space on the node.
     Argument: (list root folder). */}}
{{- define "comfyui-vace.folder" -}}
{{- $root := index . 0 -}}
{{- $folder := index . 1 -}}
{{- $own := index $root.Values.persistence $folder -}}
{{- $name := include "comfyui-vace.fullname" $root -}}
{{- if $own.existingClaim -}}
{{- dict "claim" $own.existingClaim | toJson -}}
{{- else if $own.size -}}
{{- dict "claim" (printf "%s-%s" $name $folder) | toJson -}}
{{- else if and (has $folder (list "input" "output" "user")) $root.Values.persistence.data.enabled -}}
{{- dict "claim" ($root.Values.persistence.data.existingClaim | default (printf "%s-data" $name)) "subPath" $folder | toJson -}}
{{- else -}}
{}
{{- end -}}
{{- end -}}

{{/* A size such as 512Mi, 8Gi or 1Ti in MiB. */}}
{{- define "comfyui-vace.mib" -}}
{{- if hasSuffix "Ti" . -}}{{ mul (trimSuffix "Ti" . | int64) 1048576 }}
{{- else if hasSuffix "Gi" . -}}{{ mul (trimSuffix "Gi" . | int64) 1024 }}
{{- else -}}{{ trimSuffix "Mi" . | int64 }}
{{- end -}}
{{- end -}}

{{- define "comfyui-vace.fillsWeights" -}}
{{- if and (eq .Values.weights.source "claim") .Values.weights.fill -}}true{{- end -}}
{{- end -}}
