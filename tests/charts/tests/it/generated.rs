//! What is generated, kept in the repository, and compared: the charts' own files, and what they
//! render.

use std::fmt::Write as _;

use charts::{KINDS, examples, generated, helm};
use golden::golden;

#[test]
fn golden_values_schemas_and_pages() {
    for kind in KINDS {
        let chart = format!("deploy/helm/{kind}-connector");
        golden(&format!("{chart}/values.yaml"), &generated::values(kind));
        golden(&format!("{chart}/values.schema.json"), &generated::schema(kind));
        golden(&format!("{chart}/README.md"), &generated::readme(kind));
    }
}

#[test]
fn golden_manifests() {
    for kind in KINDS {
        for (name, values) in examples::of(kind) {
            let mut text = "# Rendered by Helm: `make bless` writes it anew.\n".to_owned();
            let rendered = helm::template(kind, &values).unwrap_or_else(|why| panic!("{why}"));
            writeln!(text, "{}", rendered.trim_end()).expect("a string takes everything");
            golden(&format!("tests/charts/golden/{kind}-{name}.yaml"), &text);
        }
    }
}
