//! What a new project consists of: the template, the SDK and the agent's WIT, as they are in this source tree.
//!
//! Owns the list and the replacement of the template's name. The invariant: what a project is given is what this binary's own
//! workloads were built with.

/// The template's name, which the project's takes the place of.
const TEMPLATE: &str = "my-workload";

/// Where the files lie in a project, and what they hold.
const FILES: [(&str, &str); 24] = [
    ("Cargo.toml", include_str!("../../../../workloads/template/Cargo.toml")),
    ("README.md", include_str!("../../../../workloads/template/README.md")),
    (".gitignore", include_str!("../../../../workloads/template/gitignore")),
    ("rust-toolchain.toml", include_str!("../../../../workloads/template/rust-toolchain.toml")),
    ("src/lib.rs", include_str!("../../../../workloads/template/src/lib.rs")),
    ("wit/workload.wit", include_str!("../../../../workloads/template/wit/workload.wit")),
    ("vendor/wit/configuration.wit", include_str!("../../../../workloads/wit/configuration.wit")),
    ("vendor/wit/host.wit", include_str!("../../../../workloads/wit/host.wit")),
    ("vendor/wit/imports.wit", include_str!("../../../../workloads/wit/imports.wit")),
    ("vendor/wit/state.wit", include_str!("../../../../workloads/wit/state.wit")),
    ("vendor/selvedge-sdk/Cargo.toml", include_str!("../../../../workloads/template/vendor/selvedge-sdk/Cargo.toml")),
    ("vendor/selvedge-sdk/src/configuration.rs", include_str!("../../../../workloads/sdk/src/configuration.rs")),
    ("vendor/selvedge-sdk/src/fault.rs", include_str!("../../../../workloads/sdk/src/fault.rs")),
    ("vendor/selvedge-sdk/src/lib.rs", include_str!("../../../../workloads/sdk/src/lib.rs")),
    ("vendor/selvedge-sdk/src/macros.rs", include_str!("../../../../workloads/sdk/src/macros.rs")),
    ("vendor/selvedge-sdk/src/names.rs", include_str!("../../../../workloads/sdk/src/names.rs")),
    ("vendor/selvedge-sdk/src/native.rs", include_str!("../../../../workloads/sdk/src/native.rs")),
    ("vendor/selvedge-sdk/src/native/state.rs", include_str!("../../../../workloads/sdk/src/native/state.rs")),
    (
        "vendor/selvedge-sdk/src/native/state/families.rs",
        include_str!("../../../../workloads/sdk/src/native/state/families.rs"),
    ),
    ("vendor/selvedge-sdk/src/testing.rs", include_str!("../../../../workloads/sdk/src/testing.rs")),
    ("vendor/selvedge-sdk/src/testing/call.rs", include_str!("../../../../workloads/sdk/src/testing/call.rs")),
    ("vendor/selvedge-sdk/src/testing/limits.rs", include_str!("../../../../workloads/sdk/src/testing/limits.rs")),
    ("vendor/selvedge-sdk/src/testing/object.rs", include_str!("../../../../workloads/sdk/src/testing/object.rs")),
    ("vendor/selvedge-sdk/src/testing/tests.rs", include_str!("../../../../workloads/sdk/src/testing/tests.rs")),
];

/// The files of a project of this name: where they lie in it, and what they hold.
pub(super) fn files(name: &str) -> impl Iterator<Item = (String, String)> {
    let module = name.replace('-', "_");
    let named =
        move |text: &str, name: &str| text.replace(TEMPLATE, name).replace(&TEMPLATE.replace('-', "_"), &module);
    let name = name.to_owned();
    FILES.into_iter().map(move |(path, text)| (path.to_owned(), named(text, &name)))
}
