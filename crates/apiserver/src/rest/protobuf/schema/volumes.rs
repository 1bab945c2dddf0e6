//! Volumes of Pods.

use super::Type::{Bool, Int, Nested, Quantity, QuantityMap, Text, TextMap};
use super::pods::{OBJECT_FIELD_SELECTOR, RESOURCE_FIELD_SELECTOR};
use super::{
    LABEL_SELECTOR, LOCAL_REFERENCE, Message, OBJECT_META, inline, list, message, one, pointer,
};

pub(super) static VOLUME: Message =
    message("Volume", &[one(1, "name", Text), inline(2, &VOLUME_SOURCE)]);

static VOLUME_SOURCE: Message = message(
    "VolumeSource",
    &[
        pointer(1, "hostPath", Nested(&HOST_PATH_VOLUME_SOURCE)),
        pointer(2, "emptyDir", Nested(&EMPTY_DIR_VOLUME_SOURCE)),
        pointer(3, "gcePersistentDisk", Nested(&GCE_PERSISTENT_DISK_VOLUME_SOURCE)),
        pointer(4, "awsElasticBlockStore", Nested(&AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE)),
        pointer(5, "gitRepo", Nested(&GIT_REPO_VOLUME_SOURCE)),
        pointer(6, "secret", Nested(&SECRET_VOLUME_SOURCE)),
        pointer(7, "nfs", Nested(&NFS_VOLUME_SOURCE)),
        pointer(8, "iscsi", Nested(&ISCSI_VOLUME_SOURCE)),
        pointer(9, "glusterfs", Nested(&GLUSTERFS_VOLUME_SOURCE)),
        pointer(10, "persistentVolumeClaim", Nested(&PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE)),
        pointer(11, "rbd", Nested(&RBD_VOLUME_SOURCE)),
        pointer(12, "flexVolume", Nested(&FLEX_VOLUME_SOURCE)),
        pointer(13, "cinder", Nested(&CINDER_VOLUME_SOURCE)),
        pointer(14, "cephfs", Nested(&CEPH_FS_VOLUME_SOURCE)),
        pointer(15, "flocker", Nested(&FLOCKER_VOLUME_SOURCE)),
        pointer(16, "downwardAPI", Nested(&DOWNWARD_API_VOLUME_SOURCE)),
        pointer(17, "fc", Nested(&FC_VOLUME_SOURCE)),
        pointer(18, "azureFile", Nested(&AZURE_FILE_VOLUME_SOURCE)),
        pointer(19, "configMap", Nested(&CONFIG_MAP_VOLUME_SOURCE)),
        pointer(20, "vsphereVolume", Nested(&VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE)),
        pointer(21, "quobyte", Nested(&QUOBYTE_VOLUME_SOURCE)),
        pointer(22, "azureDisk", Nested(&AZURE_DISK_VOLUME_SOURCE)),
        pointer(23, "photonPersistentDisk", Nested(&PHOTON_PERSISTENT_DISK_VOLUME_SOURCE)),
        pointer(24, "portworxVolume", Nested(&PORTWORX_VOLUME_SOURCE)),
        pointer(25, "scaleIO", Nested(&SCALE_IO_VOLUME_SOURCE)),
        pointer(26, "projected", Nested(&PROJECTED_VOLUME_SOURCE)),
        pointer(27, "storageos", Nested(&STORAGE_OS_VOLUME_SOURCE)),
        pointer(28, "csi", Nested(&CSI_VOLUME_SOURCE)),
        pointer(29, "ephemeral", Nested(&EPHEMERAL_VOLUME_SOURCE)),
        pointer(30, "image", Nested(&IMAGE_VOLUME_SOURCE)),
    ],
);

static HOST_PATH_VOLUME_SOURCE: Message =
    message("HostPathVolumeSource", &[one(1, "path", Text), pointer(2, "type", Text)]);

static EMPTY_DIR_VOLUME_SOURCE: Message = message(
    "EmptyDirVolumeSource",
    &[one(1, "medium", Text), pointer(2, "sizeLimit", Quantity), pointer(3, "mode", Int)],
);

static GCE_PERSISTENT_DISK_VOLUME_SOURCE: Message = message(
    "GCEPersistentDiskVolumeSource",
    &[
        one(1, "pdName", Text),
        one(2, "fsType", Text),
        one(3, "partition", Int),
        one(4, "readOnly", Bool),
    ],
);

static AWS_ELASTIC_BLOCK_STORE_VOLUME_SOURCE: Message = message(
    "AWSElasticBlockStoreVolumeSource",
    &[
        one(1, "volumeID", Text),
        one(2, "fsType", Text),
        one(3, "partition", Int),
        one(4, "readOnly", Bool),
    ],
);

static GIT_REPO_VOLUME_SOURCE: Message = message(
    "GitRepoVolumeSource",
    &[one(1, "repository", Text), one(2, "revision", Text), one(3, "directory", Text)],
);

static SECRET_VOLUME_SOURCE: Message = message(
    "SecretVolumeSource",
    &[
        one(1, "secretName", Text),
        list(2, "items", Nested(&KEY_TO_PATH)),
        pointer(3, "defaultMode", Int),
        pointer(4, "optional", Bool),
        pointer(5, "defaultUser", Int),
    ],
);

static NFS_VOLUME_SOURCE: Message = message(
    "NFSVolumeSource",
    &[one(1, "server", Text), one(2, "path", Text), one(3, "readOnly", Bool)],
);

static ISCSI_VOLUME_SOURCE: Message = message(
    "ISCSIVolumeSource",
    &[
        one(1, "targetPortal", Text),
        one(2, "iqn", Text),
        one(3, "lun", Int),
        one(4, "iscsiInterface", Text),
        one(5, "fsType", Text),
        one(6, "readOnly", Bool),
        list(7, "portals", Text),
        one(8, "chapAuthDiscovery", Bool),
        pointer(10, "secretRef", Nested(&LOCAL_REFERENCE)),
        one(11, "chapAuthSession", Bool),
        pointer(12, "initiatorName", Text),
    ],
);

static GLUSTERFS_VOLUME_SOURCE: Message = message(
    "GlusterfsVolumeSource",
    &[one(1, "endpoints", Text), one(2, "path", Text), one(3, "readOnly", Bool)],
);

static PERSISTENT_VOLUME_CLAIM_VOLUME_SOURCE: Message = message(
    "PersistentVolumeClaimVolumeSource",
    &[one(1, "claimName", Text), one(2, "readOnly", Bool)],
);

static RBD_VOLUME_SOURCE: Message = message(
    "RBDVolumeSource",
    &[
        list(1, "monitors", Text),
        one(2, "image", Text),
        one(3, "fsType", Text),
        one(4, "pool", Text),
        one(5, "user", Text),
        one(6, "keyring", Text),
        pointer(7, "secretRef", Nested(&LOCAL_REFERENCE)),
        one(8, "readOnly", Bool),
    ],
);

static FLEX_VOLUME_SOURCE: Message = message(
    "FlexVolumeSource",
    &[
        one(1, "driver", Text),
        one(2, "fsType", Text),
        pointer(3, "secretRef", Nested(&LOCAL_REFERENCE)),
        one(4, "readOnly", Bool),
        one(5, "options", TextMap),
    ],
);

static CINDER_VOLUME_SOURCE: Message = message(
    "CinderVolumeSource",
    &[
        one(1, "volumeID", Text),
        one(2, "fsType", Text),
        one(3, "readOnly", Bool),
        pointer(4, "secretRef", Nested(&LOCAL_REFERENCE)),
    ],
);

static CEPH_FS_VOLUME_SOURCE: Message = message(
    "CephFSVolumeSource",
    &[
        list(1, "monitors", Text),
        one(2, "path", Text),
        one(3, "user", Text),
        one(4, "secretFile", Text),
        pointer(5, "secretRef", Nested(&LOCAL_REFERENCE)),
        one(6, "readOnly", Bool),
    ],
);

static FLOCKER_VOLUME_SOURCE: Message =
    message("FlockerVolumeSource", &[one(1, "datasetName", Text), one(2, "datasetUUID", Text)]);

static DOWNWARD_API_VOLUME_SOURCE: Message = message(
    "DownwardAPIVolumeSource",
    &[
        list(1, "items", Nested(&DOWNWARD_API_VOLUME_FILE)),
        pointer(2, "defaultMode", Int),
        pointer(3, "defaultUser", Int),
    ],
);

static FC_VOLUME_SOURCE: Message = message(
    "FCVolumeSource",
    &[
        list(1, "targetWWNs", Text),
        pointer(2, "lun", Int),
        one(3, "fsType", Text),
        one(4, "readOnly", Bool),
        list(5, "wwids", Text),
    ],
);

static AZURE_FILE_VOLUME_SOURCE: Message = message(
    "AzureFileVolumeSource",
    &[one(1, "secretName", Text), one(2, "shareName", Text), one(3, "readOnly", Bool)],
);

static CONFIG_MAP_VOLUME_SOURCE: Message = message(
    "ConfigMapVolumeSource",
    &[
        inline(1, &LOCAL_REFERENCE),
        list(2, "items", Nested(&KEY_TO_PATH)),
        pointer(3, "defaultMode", Int),
        pointer(4, "optional", Bool),
        pointer(5, "defaultUser", Int),
    ],
);

static VSPHERE_VIRTUAL_DISK_VOLUME_SOURCE: Message = message(
    "VsphereVirtualDiskVolumeSource",
    &[
        one(1, "volumePath", Text),
        one(2, "fsType", Text),
        one(3, "storagePolicyName", Text),
        one(4, "storagePolicyID", Text),
    ],
);

static QUOBYTE_VOLUME_SOURCE: Message = message(
    "QuobyteVolumeSource",
    &[
        one(1, "registry", Text),
        one(2, "volume", Text),
        one(3, "readOnly", Bool),
        one(4, "user", Text),
        one(5, "group", Text),
        one(6, "tenant", Text),
    ],
);

static AZURE_DISK_VOLUME_SOURCE: Message = message(
    "AzureDiskVolumeSource",
    &[
        one(1, "diskName", Text),
        one(2, "diskURI", Text),
        pointer(3, "cachingMode", Text),
        pointer(4, "fsType", Text),
        pointer(5, "readOnly", Bool),
        pointer(6, "kind", Text),
    ],
);

static PHOTON_PERSISTENT_DISK_VOLUME_SOURCE: Message =
    message("PhotonPersistentDiskVolumeSource", &[one(1, "pdID", Text), one(2, "fsType", Text)]);

static PORTWORX_VOLUME_SOURCE: Message = message(
    "PortworxVolumeSource",
    &[one(1, "volumeID", Text), one(2, "fsType", Text), one(3, "readOnly", Bool)],
);

static SCALE_IO_VOLUME_SOURCE: Message = message(
    "ScaleIOVolumeSource",
    &[
        one(1, "gateway", Text),
        one(2, "system", Text),
        pointer(3, "secretRef", Nested(&LOCAL_REFERENCE)),
        one(4, "sslEnabled", Bool),
        one(5, "protectionDomain", Text),
        one(6, "storagePool", Text),
        one(7, "storageMode", Text),
        one(8, "volumeName", Text),
        one(9, "fsType", Text),
        one(10, "readOnly", Bool),
    ],
);

static PROJECTED_VOLUME_SOURCE: Message = message(
    "ProjectedVolumeSource",
    &[
        list(1, "sources", Nested(&VOLUME_PROJECTION)),
        pointer(2, "defaultMode", Int),
        pointer(3, "defaultUser", Int),
    ],
);

static STORAGE_OS_VOLUME_SOURCE: Message = message(
    "StorageOSVolumeSource",
    &[
        one(1, "volumeName", Text),
        one(2, "volumeNamespace", Text),
        one(3, "fsType", Text),
        one(4, "readOnly", Bool),
        pointer(5, "secretRef", Nested(&LOCAL_REFERENCE)),
    ],
);

static CSI_VOLUME_SOURCE: Message = message(
    "CSIVolumeSource",
    &[
        one(1, "driver", Text),
        pointer(2, "readOnly", Bool),
        pointer(3, "fsType", Text),
        one(4, "volumeAttributes", TextMap),
        pointer(5, "nodePublishSecretRef", Nested(&LOCAL_REFERENCE)),
    ],
);

static EPHEMERAL_VOLUME_SOURCE: Message = message(
    "EphemeralVolumeSource",
    &[pointer(1, "volumeClaimTemplate", Nested(&PERSISTENT_VOLUME_CLAIM_TEMPLATE))],
);

static IMAGE_VOLUME_SOURCE: Message =
    message("ImageVolumeSource", &[one(1, "reference", Text), one(2, "pullPolicy", Text)]);

static KEY_TO_PATH: Message = message(
    "KeyToPath",
    &[one(1, "key", Text), one(2, "path", Text), pointer(3, "mode", Int), pointer(4, "user", Int)],
);

static DOWNWARD_API_VOLUME_FILE: Message = message(
    "DownwardAPIVolumeFile",
    &[
        one(1, "path", Text),
        pointer(2, "fieldRef", Nested(&OBJECT_FIELD_SELECTOR)),
        pointer(3, "resourceFieldRef", Nested(&RESOURCE_FIELD_SELECTOR)),
        pointer(4, "mode", Int),
        pointer(5, "user", Int),
    ],
);

static VOLUME_PROJECTION: Message = message(
    "VolumeProjection",
    &[
        pointer(1, "secret", Nested(&SECRET_PROJECTION)),
        pointer(2, "downwardAPI", Nested(&DOWNWARD_API_PROJECTION)),
        pointer(3, "configMap", Nested(&CONFIG_MAP_PROJECTION)),
        pointer(4, "serviceAccountToken", Nested(&SERVICE_ACCOUNT_TOKEN_PROJECTION)),
        pointer(5, "clusterTrustBundle", Nested(&CLUSTER_TRUST_BUNDLE_PROJECTION)),
        pointer(6, "podCertificate", Nested(&POD_CERTIFICATE_PROJECTION)),
    ],
);

static PERSISTENT_VOLUME_CLAIM_TEMPLATE: Message = message(
    "PersistentVolumeClaimTemplate",
    &[
        one(1, "metadata", Nested(&OBJECT_META)),
        one(2, "spec", Nested(&PERSISTENT_VOLUME_CLAIM_SPEC)),
    ],
);

static SECRET_PROJECTION: Message = message(
    "SecretProjection",
    &[
        inline(1, &LOCAL_REFERENCE),
        list(2, "items", Nested(&KEY_TO_PATH)),
        pointer(4, "optional", Bool),
    ],
);

static DOWNWARD_API_PROJECTION: Message =
    message("DownwardAPIProjection", &[list(1, "items", Nested(&DOWNWARD_API_VOLUME_FILE))]);

static CONFIG_MAP_PROJECTION: Message = message(
    "ConfigMapProjection",
    &[
        inline(1, &LOCAL_REFERENCE),
        list(2, "items", Nested(&KEY_TO_PATH)),
        pointer(4, "optional", Bool),
    ],
);

static SERVICE_ACCOUNT_TOKEN_PROJECTION: Message = message(
    "ServiceAccountTokenProjection",
    &[
        one(1, "audience", Text),
        pointer(2, "expirationSeconds", Int),
        one(3, "path", Text),
        pointer(4, "user", Int),
    ],
);

static CLUSTER_TRUST_BUNDLE_PROJECTION: Message = message(
    "ClusterTrustBundleProjection",
    &[
        pointer(1, "name", Text),
        pointer(2, "signerName", Text),
        pointer(3, "labelSelector", Nested(&LABEL_SELECTOR)),
        one(4, "path", Text),
        pointer(5, "optional", Bool),
        pointer(6, "user", Int),
    ],
);

static POD_CERTIFICATE_PROJECTION: Message = message(
    "PodCertificateProjection",
    &[
        one(1, "signerName", Text),
        one(2, "keyType", Text),
        pointer(3, "maxExpirationSeconds", Int),
        one(4, "credentialBundlePath", Text),
        one(5, "keyPath", Text),
        one(6, "certificateChainPath", Text),
        one(7, "userAnnotations", TextMap),
        pointer(8, "user", Int),
    ],
);

pub(super) static PERSISTENT_VOLUME_CLAIM_SPEC: Message = message(
    "PersistentVolumeClaimSpec",
    &[
        list(1, "accessModes", Text),
        one(2, "resources", Nested(&VOLUME_RESOURCE_REQUIREMENTS)),
        one(3, "volumeName", Text),
        pointer(4, "selector", Nested(&LABEL_SELECTOR)),
        pointer(5, "storageClassName", Text),
        pointer(6, "volumeMode", Text),
        pointer(7, "dataSource", Nested(&TYPED_LOCAL_OBJECT_REFERENCE)),
        pointer(8, "dataSourceRef", Nested(&TYPED_OBJECT_REFERENCE)),
        pointer(9, "volumeAttributesClassName", Text),
    ],
);

static VOLUME_RESOURCE_REQUIREMENTS: Message = message(
    "VolumeResourceRequirements",
    &[one(1, "limits", QuantityMap), one(2, "requests", QuantityMap)],
);

static TYPED_LOCAL_OBJECT_REFERENCE: Message = message(
    "TypedLocalObjectReference",
    &[pointer(1, "apiGroup", Text), one(2, "kind", Text), one(3, "name", Text)],
);

static TYPED_OBJECT_REFERENCE: Message = message(
    "TypedObjectReference",
    &[
        pointer(1, "apiGroup", Text),
        one(2, "kind", Text),
        one(3, "name", Text),
        pointer(4, "namespace", Text),
    ],
);
