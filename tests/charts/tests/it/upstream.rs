//! The values of OpenFaaS' charts, which must go on to mean what they meant.

use std::collections::BTreeMap;

use charts::{KINDS, examples, helm};
use serde_json::{Map, Value};

#[test]
fn every_value_of_openfaas_charts_has_an_effect() {
    for kind in KINDS {
        let [_, (_, upstream), _] = examples::of(kind);
        let unchanged = helm::template(kind, &upstream);
        for flip in examples::upstream(kind) {
            let Ok(Value::Object(mut values)) = serde_json::from_str(&upstream) else {
                unreachable!("values are an object")
            };
            let needs_more = !flip.with.is_empty();
            values.extend(flip.with);
            let before = match needs_more {
                true => helm::template(kind, &text(&values)),
                false => unchanged.clone(),
            };
            if let Some(condition) = flip.idle {
                examples::set(&mut values, &condition, true.into());
                let why = helm::template(kind, &text(&values))
                    .expect_err("what it depends on is refused");
                assert!(why.contains(&condition), "{kind}: {why}");
                continue;
            }
            examples::set(&mut values, &flip.key, flip.other);
            let after = helm::template(kind, &text(&values));
            match flip.refused {
                Some(why) => assert!(after.expect_err("it is refused").contains(&why), "{kind}"),
                // One of the two may be a mistake, such as half of a client certificate.
                None => assert!(before != after && after.is_ok(), "{kind}: {} {after:?}", flip.key),
            }
        }
    }
}

#[test]
#[ignore = "needs a checkout of openfaas/faas-netes, at the commit that tests/charts/upstream names: FAAS_NETES=folder"]
fn the_values_are_all_of_those_that_openfaas_charts_have() {
    let folder = std::env::var("FAAS_NETES").expect("FAAS_NETES names the checkout");
    for kind in KINDS {
        let path = format!("{folder}/chart/{kind}-connector/values.yaml");
        let file = std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{path}: {why}"));
        let known: BTreeMap<String, Value> =
            examples::upstream(kind).into_iter().map(|flip| (flip.key, flip.value)).collect();
        let values = serde_norway::from_str(&file).expect("the values are YAML");
        assert_known(kind, "", &values, &known);

        let [_, (_, upstream), _] = examples::of(kind);
        assert_eq!(helm::template(kind, &file), helm::template(kind, &upstream), "{kind}");
    }
}

/// Sees to it that each value is among `known`, itself or by its parts.
fn assert_known(kind: &str, path: &str, value: &Value, known: &BTreeMap<String, Value>) {
    match (known.get(path), value) {
        (Some(known), value) => assert_eq!(known, value, "{kind}: {path}"),
        (None, Value::Object(parts)) => {
            for (name, part) in parts {
                let path = format!("{path}.{name}");
                assert_known(kind, path.trim_start_matches('.'), part, known);
            }
        }
        (None, _) => panic!("{kind}: {path} is not in tests/charts/upstream"),
    }
}

fn text(values: &Map<String, Value>) -> String {
    Value::Object(values.clone()).to_string()
}
