//! The families of metrics: names, types, labels, and the words that labels have.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write,
    fs,
    path::Path,
};

use crate::{harness::eventually, world::World};

/// One family.
#[derive(Default)]
struct Family {
    kind: String,
    series: BTreeSet<String>,
    buckets: Vec<String>,
}

/// Tells of every family but its help and its numbers.
pub fn families(world: &World) -> String {
    let text = eventually("every connection is closed", || {
        let text = world.octroi.metrics();
        let open: f64 = text
            .lines()
            .filter(|line| line.starts_with("octroi_connections{"))
            .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
            .sum();
        (open == 0.0).then_some(text)
    });
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    let mut name = String::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (family, kind) = rest.split_once(' ').unwrap();
            family.clone_into(&mut name);
            families.entry(name.clone()).or_default().kind = kind.to_owned();
        } else if !line.starts_with('#') {
            add(families.get_mut(&name).unwrap(), &name, line.rsplit_once(' ').unwrap().0);
        }
    }
    let declared = declared();
    // It is there with Redis only, which this world has none of.
    let absent = |name: &str| !families.contains_key(name) && name != "octroi_redis_connected";
    let missing: Vec<&String> = declared.iter().filter(|name| absent(name)).collect();
    assert!(missing.is_empty(), "nothing has happened that shows {missing:?}");
    let mut out = "# Every family of metrics: name and type, the buckets of a histogram, and the labels of its series.\n".to_owned();
    for (name, family) in families {
        writeln!(out, "\n{name} {}", family.kind).unwrap();
        if !family.buckets.is_empty() {
            writeln!(out, "  le: {}", family.buckets.join(" ")).unwrap();
        }
        for series in family.series {
            writeln!(out, "  {series}").unwrap();
        }
    }
    out
}

fn add(family: &mut Family, name: &str, series: &str) {
    let (full, labels) =
        series.split_once('{').map_or((series, ""), |(full, labels)| (full, labels.trim_end_matches('}')));
    let mut left = Vec::new();
    for pair in labels.split(',').filter(|pair| !pair.is_empty()) {
        let (label, value) = pair.split_once('=').unwrap();
        match label {
            "le" => {
                let value = value.trim_matches('"').to_owned();
                if !family.buckets.contains(&value) {
                    family.buckets.push(value);
                }
            }
            "version" if name == "octroi_build_info" => left.push(format!("{label}=<version>")),
            "revision" | "file" => left.push(format!("{label}=<{label}>")),
            "server" => left.push(format!("{label}=<address>")),
            _ => left.push(pair.to_owned()),
        }
    }
    // Those of a histogram say the same three times.
    if family.kind != "histogram" || full.ends_with("_count") {
        family.series.insert(if left.is_empty() {
            "(no labels)".to_owned()
        } else {
            format!("{{{}}}", left.join(","))
        });
    }
}

/// The names that the program's sources declare.
fn declared() -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/telemetry/metrics");
    let sources =
        fs::read_dir(folder).unwrap().map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap());
    let own: String = sources.map(|source| source.split("#[cfg(test)]").next().unwrap().to_owned()).collect();
    let names =
        own.split("\"octroi_").skip(1).map(|rest| format!("octroi_{}", rest.split('"').next().unwrap()));
    let names: BTreeSet<String> = names.collect();
    assert!(names.len() > 50, "{names:?}");
    names
}
