//! What the charts render, judged by the API server itself: its schemas, its validation, its defaults and its admission.

use charts::{KINDS, examples, helm, root};
use integration::Cluster;
use serde_json::{Value, json};

/// Nothing is created.
const TRY: [&str; 4] = ["apply", "--dry-run=server", "--filename", "-"];

#[test]
#[ignore = "needs the API server of Kubernetes: make prove-kubernetes"]
fn the_api_server_takes_what_they_render() {
    let cluster = Cluster::start();
    // Pods must be as harmless as Kubernetes can demand, and workloads that would make others are warned of.
    let strict =
        ["enforce", "warn"].map(|mode| format!("pod-security.kubernetes.io/{mode}=restricted"));
    cluster.kubectl(&["label", "namespace", "openfaas", &strict[0], &strict[1]], "");
    teach_extensions(&cluster);
    // There is no controller that would make the first of these, and `everything` names the others.
    for account in ["default", "events"] {
        cluster.kubectl(&["create", "serviceaccount", account, "--save-config"], "");
    }
    cluster.kubectl(&["create", "priorityclass", "events", "--value=1000"], "");

    for kind in KINDS {
        for (name, values) in examples::of(kind) {
            let rendered = helm::template(kind, &values).unwrap_or_else(|why| panic!("{why}"));
            let taken = cluster.kubectl(&TRY, &rendered);
            let manifests = helm::manifests(&rendered);
            assert_eq!(taken.lines().count(), manifests.len(), "{kind}, {name}: {taken}");
            cluster.kubectl(&TRY, &pod(kind, &manifests).to_string());
        }
    }
}

#[test]
#[ignore = "needs the API server of Kubernetes: make prove-kubernetes"]
fn a_release_can_be_changed_to_anything_and_taken_away() {
    let cluster = Cluster::start();
    teach_extensions(&cluster);
    let config = cluster.configuration();
    let config = config.to_str().expect("the checkout's path is text");
    let helm = |arguments: &[&str], values: &str| {
        let common = ["--namespace", "openfaas", "--kubeconfig", config];
        let said = helm::helm(&[arguments, common.as_slice()].concat(), values);
        said.unwrap_or_else(|why| panic!("helm {arguments:?}: {why}"))
    };
    for kind in KINDS {
        let chart = helm::chart(kind);
        let chart = chart.to_str().expect("the checkout's path is text");
        let [defaults, upstream, everything] = examples::of(kind);
        for (name, values) in [&defaults, &everything, &upstream, &everything, &defaults] {
            let notes = helm(
                &["upgrade", "--install", "--reset-values", kind, chart, "--values", "-"],
                values.as_str(),
            );
            let page = if *name == "everything" { "127.0.0.1:9090" } else { "127.0.0.1:8081" };
            assert!(notes.contains(page), "{kind}, {name}: {notes}");
        }
        helm(&["uninstall", kind], "");
    }
    let left = cluster
        .kubectl(&["get", "--ignore-not-found", "all,sa,role,rolebinding,netpol,pdb,secret"], "");
    assert_eq!(left, "");
}

#[test]
#[ignore = "needs the API server of Kubernetes: make prove-kubernetes"]
fn the_api_server_can_say_no() {
    let cluster = Cluster::start();
    let rendered = helm::template("kafka", "").unwrap_or_else(|why| panic!("{why}"));
    for (right, wrong, why) in [
        ("imagePullPolicy: IfNotPresent", "imagePullPolice: Never", "imagePullPolice"),
        ("imagePullPolicy: IfNotPresent", "imagePullPolicy: Seldom", "Seldom"),
        ("mountPath: /var/secrets", "mountPath: ''", "mountPath"),
    ] {
        assert!(rendered.contains(right), "{right}");
        let said = cluster.try_kubectl(&TRY, &rendered.replace(right, wrong));
        assert!(said.as_ref().is_err_and(|said| said.contains(why)), "{wrong}: {said:?}");
    }
}

/// The pod that the controllers would make.
fn pod(kind: &str, manifests: &[Value]) -> Value {
    let workload = manifests.iter().find(|it| it["spec"]["template"]["spec"].is_object());
    let template = &workload.expect("something runs pods")["spec"]["template"];
    let mut metadata = template["metadata"].clone();
    metadata["name"] = format!("{kind}-pod").into();
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] })
}

/// Has it know the kinds that are not part of Kubernetes, as far as the charts use them.
fn teach_extensions(cluster: &Cluster) {
    let folder = root().join("tests/charts/schemas");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).expect("the schemas are there") {
        let text = std::fs::read_to_string(file.expect("it can be read").path()).expect("a file");
        let definition = definition(&serde_json::from_str(&text).expect("a schema is JSON"));
        cluster.kubectl(&["create", "--filename", "-"], &definition.to_string());
        names.push(format!("crd/{}", definition["metadata"]["name"].as_str().expect("named")));
    }
    for name in names {
        cluster.kubectl(&["wait", "--for=condition=Established", &name], "");
    }
}

/// The definition of a kind from its schema.
fn definition(schema: &Value) -> Value {
    let constant = |name: &str| schema["properties"][name]["const"].as_str().expect("a name");
    let (group, version) = constant("apiVersion").split_once('/').expect("group and version");
    let kind = constant("kind");
    let singular = kind.to_lowercase();
    let plural = format!("{singular}s");
    let spec = structural(&schema["properties"]["spec"]);
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{group}") },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": { "kind": kind, "singular": singular, "plural": plural },
            "versions": [{
                "name": version,
                "served": true,
                "storage": true,
                "schema": { "openAPIV3Schema": {
                    "type": "object", "required": ["spec"], "properties": { "spec": spec },
                } },
            }],
        },
    })
}

/// A schema as the API server wants it, which refuses by itself what a schema does not name.
fn structural(schema: &Value) -> Value {
    match schema {
        Value::Object(fields) => {
            let kept = fields
                .iter()
                .filter(|(name, value)| *name != "additionalProperties" || value.is_object());
            kept.map(|(name, value)| (name.clone(), structural(value))).collect()
        }
        other => other.clone(),
    }
}
