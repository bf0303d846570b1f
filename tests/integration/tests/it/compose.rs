//! The compose files that users copy, as the connectors read them: each variable is a setting, and each is taken as it reads.
//!
//! What faasd makes of the files is judged by `compose_checker`'s own tests.

use std::fs;

use compose_checker::check;
use integration::{Launch, root};

#[tokio::test]
async fn every_variable_is_a_setting() {
    let file = fs::read_to_string(root().join("deploy/compose/docker-compose.yaml")).unwrap();
    let services = check(&file).unwrap();
    let connectors = services.iter().filter_map(|s| Some((s.name.strip_suffix("-connector")?, s)));
    let mut checked = 0;
    for (kind, service) in connectors {
        let mut launch = Launch::new(kind).unset("admin_port").argument("--check");
        for argument in &service.command[1..] {
            launch = launch.argument(argument);
        }
        for (name, value) in &service.environment {
            launch = launch.set(name, value);
        }
        let ended = launch.run().await;
        assert_eq!((ended.code, ended.stderr()), (Some(0), String::new()), "{kind}");
        let page = ended.stdout();
        // Those in capitals are read by the client library of AWS.
        for name in service.environment.keys().filter(|name| name.to_lowercase() == **name) {
            assert!(
                page.contains(&format!("[environment variable {name}]")),
                "{kind} {name}: {page}"
            );
        }
        assert!(!page.contains("Passed over"), "{kind}: {page}");
        checked += 1;
    }
    assert_eq!(checked, 5);
}
