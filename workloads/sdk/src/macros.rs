//! From a world in WIT to a trait in Rust, and from its implementation to a component.
//!
//! Owns the macros with which a workload says what it exports. The invariant: a workload's imports are those of this crate,
//! so that its calls reach the agent in WebAssembly and the test host natively.

/// Makes `$name` a workload: generates the bindings of its world and exports what is implemented.
///
/// The name becomes a unit struct, and the world's trait, `Guest`, is to be implemented for it, with the types of the world
/// in scope. What an *interface* of the world exports lies in `bindings::exports::…`, with a `Guest` of its own.
///
/// - `workload!(Kills in "local:workload/workload")`: the world of a project that `selvedge new` made. Its WIT is in `wit/`,
///   the agent's in `vendor/wit/`.
/// - `workload!(Combat in "combat-workload", from "../wit")`: any other world, and one folder or a list of them.
#[macro_export]
macro_rules! workload {
    ($name:ident in $world:literal) => {
        $crate::workload!($name in $world, from ["vendor/wit", "wit"]);
    };
    ($name:ident in $world:literal, from $path:tt) => {
        /// What this workload exports, implemented.
        pub struct $name;

        /// The types and traits of this workload's world.
        #[allow(missing_docs, unused, unreachable_pub, unsafe_code, clippy::all, clippy::pedantic)]
        pub mod bindings {
            $crate::exports!($world, from $path);
        }
        #[allow(unused_imports)]
        use bindings::*;

        // Natively there is nobody to export to.
        #[cfg(target_family = "wasm")]
        bindings::export!($name with_types_in bindings);
    };
}

/// The bindings of a workload's exports alone, in the module where it is written: `exports!("combat-workload")`. The world
/// lies in `../wit` unless said otherwise; its imports are those of this crate.
#[macro_export]
macro_rules! exports {
    ($world:literal) => {
        $crate::exports!($world, from "../wit");
    };
    ($world:literal, from $path:tt) => {
        $crate::wit_bindgen::generate!({
            path: $path,
            world: $world,
            runtime_path: "selvedge_sdk::wit_bindgen::rt",
            with: {
                "selvedge:workload/state@0.1.0": selvedge_sdk::state,
                "selvedge:workload/log@0.1.0": selvedge_sdk::log,
                "selvedge:workload/clock@0.1.0": selvedge_sdk::clock,
                "selvedge:workload/random@0.1.0": selvedge_sdk::random,
                "selvedge:workload/config@0.1.0": selvedge_sdk::config,
                "selvedge:workload/assets@0.1.0": selvedge_sdk::assets,
                "selvedge:workload/fault@0.1.0": selvedge_sdk,
            },
        });
    };
}
