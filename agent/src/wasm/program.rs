//! A component, compiled and checked: what it imports, what can be called, with which types.
//!
//! Owns the checks of a file that somebody wants to deploy, and the search for a function by name. Runs nothing. The
//! invariant: a program imports only what is offered and has at least one function whose types have a form in JSON.

use std::collections::BTreeMap;
use std::sync::Arc;

use wasmtime::Engine;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, ComponentExportIndex, InstancePre, Linker};

use super::assets::AssetView;
use super::error::{CallError, LoadError};
use super::imports::OFFERED;
use super::instance::CallState;
use super::limits::Limits;
use super::shape::Signature;
use super::{ComponentInfo, FunctionInfo, LoadOptions};

/// The largest component, in bytes. A guest in Rust has some tens of kilobytes, one with an interpreter some megabytes.
pub(super) const COMPONENT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// The most functions of one component.
const FUNCTIONS_MAX: usize = 1_024;
/// What every WebAssembly file begins with.
const MAGIC: &[u8] = b"\0asm";
/// The version and layer of a core module, after the magic.
const CORE: &[u8] = &[1, 0, 0, 0];

/// A compiled component.
#[derive(Clone)]
pub(super) struct Compiled {
    component: Component,
    functions: Arc<[Function]>,
    imports: Vec<String>,
}

/// A compiled component with what an operator set for it.
pub(super) struct Program {
    pub(super) workload: Arc<str>,
    pub(super) limits: Arc<Limits>,
    pub(super) config: Arc<BTreeMap<String, String>>,
    pub(super) assets: Arc<dyn AssetView>,
    pub(super) pre: InstancePre<CallState>,
    functions: Arc<[Function]>,
}

/// A function that can be called.
#[derive(Clone)]
pub(super) struct Function {
    /// The interface as in WIT, `selvedge:workload/combat@0.1.0`; empty for one that the component exports directly.
    interface: String,
    name: String,
    pub(super) index: ComponentExportIndex,
    pub(super) signature: Signature,
}

impl Compiled {
    /// Compiles and checks `wasm`. Takes tens of milliseconds: not for an async thread.
    pub(super) fn new(engine: &Engine, wasm: &[u8]) -> Result<Self, LoadError> {
        if wasm.len() > COMPONENT_BYTES_MAX {
            return Err(LoadError::TooLarge { bytes: wasm.len(), limit_bytes: COMPONENT_BYTES_MAX });
        }
        match wasm.strip_prefix(MAGIC) {
            None => return Err(LoadError::NotComponent("it does not begin as WebAssembly does".to_owned())),
            Some(rest) if rest.starts_with(CORE) => return Err(LoadError::CoreModule),
            Some(_) => {}
        }
        let component =
            Component::from_binary(engine, wasm).map_err(|error| LoadError::NotComponent(format!("{error:#}")))?;
        let imports = imports(engine, &component)?;
        let functions = functions(engine, &component)?;
        if functions.is_empty() {
            return Err(LoadError::NoFunction);
        }
        Ok(Self { component, functions: functions.into(), imports })
    }

    /// Ties the component to what is offered to it.
    pub(super) fn program(
        &self,
        linker: &Linker<CallState>,
        workload: &str,
        options: LoadOptions,
        assets: Arc<dyn AssetView>,
    ) -> Result<Program, LoadError> {
        let pre =
            linker.instantiate_pre(&self.component).map_err(|error| LoadError::ImportType(format!("{error:#}")))?;
        Ok(Program {
            workload: workload.into(),
            limits: Arc::new(options.limits),
            config: Arc::new(options.config),
            assets,
            pre,
            functions: Arc::clone(&self.functions),
        })
    }

    pub(super) fn info(&self) -> ComponentInfo {
        ComponentInfo { exports: self.functions.iter().map(Function::info).collect(), imports: self.imports.clone() }
    }
}

impl Program {
    pub(super) fn engine(&self) -> &Engine {
        self.pre.engine()
    }

    /// The function that `wanted` names: `resolve`, `combat.resolve`, or with the interface's full name.
    pub(super) fn function(&self, wanted: &str) -> Result<&Function, CallError> {
        let spelt = wanted.replace('_', "-");
        let mut found = self.functions.iter().filter(|function| function.answers_to(&spelt));
        let shown = |text: &str| text.chars().take(120).collect::<String>();
        match (found.next(), found.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(CallError::UnknownFunction {
                function: shown(wanted),
                known: self.functions.iter().map(Function::short_path).collect(),
            }),
            (Some(first), Some(second)) => Err(CallError::AmbiguousFunction {
                function: shown(wanted),
                candidates: [first, second].into_iter().chain(found).map(Function::path).collect(),
            }),
        }
    }
}

impl Function {
    fn answers_to(&self, wanted: &str) -> bool {
        wanted == self.name || wanted == self.short_path() || wanted == self.path()
    }

    /// The interface without package and version: `combat`.
    fn short_interface(&self) -> &str {
        let interface = self.interface.rsplit_once('/').map_or(self.interface.as_str(), |(_, name)| name);
        interface.split_once('@').map_or(interface, |(name, _)| name)
    }

    fn short_path(&self) -> String {
        joined(self.short_interface(), &self.name)
    }

    fn path(&self) -> String {
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
    let offered = |name: &str| OFFERED.contains(&name.split_once('@').map_or(name, |(name, _)| name));
    match imports.iter().find(|name| !offered(name)) {
        Some(import) => Err(LoadError::Import {
            import: import.clone(),
            offered: OFFERED.iter().map(|name| (*name).to_owned()).collect(),
        }),
        None => Ok(imports),
    }
}

fn functions(engine: &Engine, component: &Component) -> Result<Vec<Function>, LoadError> {
    let mut functions = Vec::new();
    for (name, item) in component.component_type().exports(engine) {
        match item.ty {
            ComponentItem::ComponentFunc(ty) => functions.push(function(component, None, name, &ty)?),
            ComponentItem::ComponentInstance(interface) => {
                for (inner, item) in interface.exports(engine) {
                    if let ComponentItem::ComponentFunc(ty) = item.ty {
                        functions.push(function(component, Some(name), inner, &ty)?);
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
    if functions.len() > FUNCTIONS_MAX {
        let message = format!("{} functions; at most {FUNCTIONS_MAX} are taken", functions.len());
        return Err(LoadError::NotComponent(message));
    }
    Ok(functions)
}

fn function(
    component: &Component,
    interface: Option<&str>,
    name: &str,
    ty: &wasmtime::component::types::ComponentFunc,
) -> Result<Function, LoadError> {
    let interface_name = interface.unwrap_or_default().to_owned();
    let refused = |message: String| LoadError::FunctionType { function: joined(&interface_name, name), message };
    let signature = Signature::read(ty).map_err(refused)?;
    let parent = interface.map(|interface| component.get_export_index(None, interface));
    let index = match parent {
        Some(None) => None,
        Some(Some(parent)) => component.get_export_index(Some(&parent), name),
        None => component.get_export_index(None, name),
    };
    let index = index.ok_or_else(|| refused("its export cannot be found".to_owned()))?;
    Ok(Function { interface: interface_name, name: name.to_owned(), index, signature })
}
