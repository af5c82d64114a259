//! A component, compiled and checked: what it imports, what can be called, with which types.
//!
//! Owns the checks of a file that somebody wants to deploy. Runs nothing. The
//! invariant: a program imports only what is offered and has at least one function whose types have a form in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use super::assets::AssetView;
use super::error::{CallError, LoadError};
use super::exports::Exports;
use super::imports::{OFFERED, wasi};
use super::instance::CallState;
use super::limits::Limits;
use super::shape::Signature;
use super::{ComponentInfo, FunctionInfo, LoadOptions};
use crate::spec::Digest;

/// The largest component, in bytes. A guest in Rust has some tens of kilobytes, one with an interpreter some megabytes.
pub(super) const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most functions of one component.
const FUNCTIONS_MAX: usize = 1_024;
/// The most parts that the types of all functions may have together, spelt out. A few bytes of a component can stand for millions:
/// records of records of records, each holding the next one twice.
const SHAPES_MAX: usize = 20_000;
/// The interface with which a workload checks its configuration.
const CONFIGURATION: &str = "selvedge:workload/configuration";
/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";
/// The version and layer of a core module, after the magic.
const CORE: &[u8] = &[1, 0, 0, 0];

/// Whether `wasm` may be worth compiling: what takes no compiler to see.
pub(super) fn look_at(wasm: &[u8]) -> Result<(), LoadError> {
    if wasm.len() > COMPONENT_BYTES_MAX {
        return Err(LoadError::TooLarge { bytes: wasm.len(), limit_bytes: COMPONENT_BYTES_MAX });
    }
    match wasm.strip_prefix(MAGIC) {
        None => Err(LoadError::NotComponent("it does not begin as WebAssembly does".to_owned())),
        Some(rest) if rest.starts_with(CORE) => Err(LoadError::CoreModule),
        Some(_) => Ok(()),
    }
}

/// A compiled component.
#[derive(Clone)]
pub(super) struct Compiled {
    digest: Digest,
    component: Component,
    exports: Exports,
    check: Option<Arc<Function>>,
    imports: Vec<String>,
}

/// A compiled component with what an operator set for it.
pub(super) struct Program {
    pub(super) digest: Digest,
    pub(super) workload: Arc<str>,
    pub(super) limits: Arc<Limits>,
    pub(super) config: Arc<BTreeMap<String, String>>,
    pub(super) assets: Arc<dyn AssetView>,
    pub(super) pre: InstancePre<CallState>,
    /// The workload's own check of its configuration, if it has one.
    pub(super) check: Option<Arc<Function>>,
    pub(super) exports: Exports,
}

/// A function that can be called.
#[derive(Clone)]
pub(super) struct Function {
    /// The interface as in WIT, `selvedge:workload/combat@0.1.0`; empty for one that the component exports directly.
    interface: String,
    pub(super) name: String,
    /// Its place among the component's functions.
    pub(super) number: usize,
    pub(super) index: ComponentExportIndex,
    pub(super) signature: Signature,
}

impl Compiled {
    /// Checks what is imported and exported.
    pub(super) fn new(engine: &Engine, digest: Digest, component: Component) -> Result<Self, LoadError> {
        let imports = imports(engine, &component)?;
        let (functions, check) = functions(engine, &component)?;
        if functions.is_empty() {
            return Err(LoadError::NoFunction);
        }
        Ok(Self { digest, component, exports: Exports::new(functions), check: check.map(Arc::new), imports })
    }

    /// Ties the component to what is offered to it.
    pub(super) fn program(
        &self,
        linker: &Linker<CallState>,
        workload: &str,
        options: LoadOptions,
        assets: Arc<dyn AssetView>,
    ) -> Result<Program, LoadError> {
        let unfit = |error: wasmtime::Error| LoadError::ImportType(format!("{error:#}"));
        let pre = if self.imports.iter().any(|import| wasi::is_met(import)) {
            let mut own = linker.clone();
            wasi::meet(&mut own, linker.engine(), &self.component).map_err(unfit)?;
            own.instantiate_pre(&self.component)
        } else {
            linker.instantiate_pre(&self.component)
        };
        let pre = pre.map_err(unfit)?;
        Ok(Program {
            digest: self.digest,
            workload: workload.into(),
            limits: Arc::new(options.limits),
            config: Arc::new(options.config),
            assets,
            pre,
            check: self.check.clone(),
            exports: self.exports.clone(),
        })
    }

    pub(super) fn info(&self) -> ComponentInfo {
        ComponentInfo {
            exports: self.exports.functions().iter().map(Function::info).collect(),
            imports: self.imports.clone(),
        }
    }
}

impl Program {
    pub(super) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// The function that `wanted` names: `resolve`, `combat.resolve`, or with the interface's full name.
    pub(super) fn function(&self, wanted: &str) -> Result<&Function, CallError> {
        self.exports.find(wanted)
    }
}

impl Function {
    pub(super) fn answers_to(&self, wanted: &str) -> bool {
        wanted == self.name || wanted == self.short_path() || wanted == self.path()
    }

    /// Whether it is what the contract's interface `configuration` is for, in whichever version.
    fn is_check(&self) -> bool {
        self.interface.split_once('@').map_or(self.interface.as_str(), |(name, _)| name) == CONFIGURATION
            && self.name == "check"
    }

    /// The interface without package and version: `combat`.
    fn short_interface(&self) -> &str {
        let interface = self.interface.rsplit_once('/').map_or(self.interface.as_str(), |(_, name)| name);
        interface.split_once('@').map_or(interface, |(name, _)| name)
    }

    pub(super) fn short_path(&self) -> String {
        joined(self.short_interface(), &self.name)
    }

    pub(super) fn path(&self) -> String {
        joined(&self.interface, &self.name)
    }

    fn info(&self) -> FunctionInfo {
        let params = &self.signature.params;
        FunctionInfo {
            interface: self.interface.clone(),
            name: self.name.clone(),
            params: params.iter().map(|(name, shape)| (name.json.clone(), shape.text())).collect(),
            result: self.signature.result.as_ref().map(super::shape::Shape::text),
        }
    }
}

fn joined(interface: &str, name: &str) -> String {
    if interface.is_empty() { name.to_owned() } else { format!("{interface}.{name}") }
}

fn imports(engine: &Engine, component: &Component) -> Result<Vec<String>, LoadError> {
    let imports: Vec<_> = component.component_type().imports(engine).map(|(name, _)| name.to_owned()).collect();
    let ours = |name: &str| OFFERED.contains(&name.split_once('@').map_or(name, |(name, _)| name));
    let offered = |name: &str| ours(name) || wasi::is_met(name);
    match imports.iter().find(|name| !offered(name)) {
        Some(import) => Err(LoadError::Import {
            import: import.clone(),
            offered: OFFERED.iter().map(|name| (*name).to_owned()).collect(),
        }),
        None => Ok(imports),
    }
}

/// The functions that can be called, and the check of the configuration, which is none of them.
fn functions(engine: &Engine, component: &Component) -> Result<(Vec<Function>, Option<Function>), LoadError> {
    let mut found = Found { component, functions: Vec::new(), shapes_left: SHAPES_MAX };
    for (name, item) in component.component_type().exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(ty) => found.add(None, name, &ty)?,
            ComponentItem::ComponentInstance(interface) => {
                for (inner, item) in interface.exports(engine) {
                    if let ComponentItem::ComponentFunc(ty) = item.ty {
                        found.add(Some(name), inner, &ty)?;
                    }
                }
            }
            // What is no function cannot be called; it does no harm either.
            ComponentItem::CoreFunc(_)
            | ComponentItem::Module(_)
            | ComponentItem::Component(_)
            | ComponentItem::Type(_)
            | ComponentItem::Resource(_) => {}
        }
    }
    let mut functions = found.functions;
    let check = functions.iter().position(Function::is_check).map(|at| functions.remove(at));
    functions.iter_mut().enumerate().for_each(|(number, function)| function.number = number);
    // It has a number too, behind those of all others: instances remember functions by it.
    let check = check.map(|check| Function { number: functions.len(), ..check });
    Ok((functions, check))
}

/// The functions of a component, as far as they have been read.
struct Found<'a> {
    component: &'a Component,
    functions: Vec<Function>,
    shapes_left: usize,
}

impl Found<'_> {
    fn add(
        &mut self,
        interface: Option<&str>,
        name: &str,
        ty: &wasmtime::component::types::ComponentFunc,
    ) -> Result<(), LoadError> {
        let number = self.functions.len();
        if number == FUNCTIONS_MAX {
            return Err(LoadError::NotComponent(format!("more than {FUNCTIONS_MAX} functions")));
        }
        let interface_name = interface.unwrap_or_default().to_owned();
        let refused = |message: String| LoadError::FunctionType { function: joined(&interface_name, name), message };
        let signature = Signature::read(ty, &mut self.shapes_left).map_err(refused)?;
        let parent = interface.map(|interface| self.component.get_export_index(None, interface));
        let index = match parent {
            Some(None) => None,
            Some(Some(parent)) => self.component.get_export_index(Some(&parent), name),
            None => self.component.get_export_index(None, name),
        };
        let index = index.ok_or_else(|| refused("its export cannot be found".to_owned()))?;
        self.functions.push(Function { interface: interface_name, name: name.to_owned(), number, index, signature });
        Ok(())
    }
}
