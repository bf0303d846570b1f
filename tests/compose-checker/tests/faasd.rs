//! Our verdicts beside those of faasd: `cases.txt` holds small compose files and what we find wrong in each, `faasd.tsv`
//! what faasd's own parser (`LoadComposeFileWithArch` and `ParseCompose` of its package `pkg`, at commit 13f03f3) made of the same files: the case,
//! "accepted" or "refused", and the services as JSON or the reason. A new case needs its line there, from faasd.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use compose_checker::{Service, check};
use serde_json::{Value, json};

/// The name of a case, what we must find, and the file.
fn cases() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    include_str!("cases.txt").split("=== ").skip(1).map(|case| {
        let (name, rest) = case.split_once('\n').unwrap();
        let (mistakes, file) = rest.split_once("---\n").unwrap();
        (name, mistakes.trim_end(), file)
    })
}

/// By the name of a case: the services that faasd would start, or why it refuses the file.
fn faasd() -> BTreeMap<&'static str, Result<Value, &'static str>> {
    let rows = include_str!("faasd.tsv").lines().map(|row| {
        let mut columns = row.splitn(3, '\t');
        let mut column = || columns.next().unwrap();
        match (column(), column(), column()) {
            (name, "accepted", services) => (name, Ok(serde_json::from_str(services).unwrap())),
            (name, _, reason) => (name, Err(reason)),
        }
    });
    rows.collect()
}

/// A service as faasd's own structure of it reads in JSON.
fn as_faasd_sees_it(service: &Service) -> Value {
    fn list<T: Into<Value>>(items: impl ExactSizeIterator<Item = T>) -> Value {
        if items.len() == 0 { Value::Null } else { items.map(Into::into).collect() }
    }
    let absolute = |source: &str| match source.strip_prefix("./") {
        Some(relative) => format!("/var/lib/faasd/{relative}"),
        None => source.to_owned(),
    };
    let mounts = service.mounts.iter().map(|mount| {
        json!({"Src": absolute(&mount.source), "Dest": mount.target, "ReadOnly": mount.read_only})
    });
    let ports = service.ports.iter().map(|port| {
        let address = port.address.as_deref().unwrap_or_default();
        json!({"TargetPort": port.container, "Port": port.host, "HostIP": address})
    });
    json!({
        "Name": service.name,
        "Image": service.image,
        "Env": list(service.environment.iter().map(|(name, value)| format!("{name}={value}"))),
        "Mounts": list(mounts),
        "Caps": list(service.capabilities.iter().map(String::as_str)),
        "Args": list(service.command.iter().map(String::as_str)),
        "DependsOn": list(service.depends_on.iter().map(String::as_str)),
        "Ports": ports.collect::<Value>(),
        "User": service.user.as_deref().unwrap_or_default(),
    })
}

#[test]
fn every_rule_is_broken_once() {
    for (name, expected, file) in cases() {
        let found = check(file).map_or_else(|mistakes| mistakes.to_string(), |_| String::new());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn what_faasd_refuses_is_refused() {
    let faasd = faasd();
    for (name, _, file) in cases() {
        let theirs = faasd.get(name).unwrap_or_else(|| panic!("{name} is missing in faasd.tsv"));
        if let Err(reason) = theirs {
            assert!(check(file).is_err(), "faasd refuses {name}: {reason}");
        }
    }
}

#[test]
fn what_is_accepted_is_what_faasd_starts() {
    let faasd = faasd();
    let mut accepted = 0;
    for (name, _, file) in cases() {
        let Ok(services) = check(file) else { continue };
        let ours: Vec<_> = services.iter().map(as_faasd_sees_it).collect();
        // faasd gives them in no order of its own.
        let mut theirs = faasd[name].clone().unwrap();
        theirs
            .as_array_mut()
            .unwrap()
            .sort_by_key(|service| ours.iter().position(|known| known["Name"] == service["Name"]));
        assert_eq!(Value::from(ours), theirs, "{name}");
        accepted += 1;
    }
    assert!(accepted >= 5, "only {accepted} cases are without mistakes");
}
