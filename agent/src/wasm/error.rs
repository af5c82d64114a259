//! What can go wrong with components and calls, and whose fault it is.
//!
//! Owns the error types of the module's handle. The invariant: whatever the error of a call, the call changed nothing.

use std::path::PathBuf;
use std::time::Duration;

/// Who has to do something about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Whoever made the request: another one would do.
    Caller,
    /// Whoever wrote or deployed the workload.
    Workload,
    /// This host: it is busy or going down; another host, or a moment later, would do.
    Host,
}

/// Why the engine could not start. This host's fault; nothing runs.
#[derive(Debug, thiserror::Error)]
pub enum WasmError {
    /// The engine refused its configuration, or the address space for its instances is not there.
    #[error("the WebAssembly engine did not start: {0}")]
    Engine(String),
    /// The folder of compiled code cannot be used.
    #[error("compiled code cannot be kept in {}", folder.display())]
    Cache {
        /// Which folder.
        folder: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("a thread for WebAssembly calls did not start")]
    Thread(#[source] std::io::Error),
}

/// Why a file is no workload. The deployer's fault unless said otherwise; what ran before still runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file is larger than the host takes.
    #[error("the component has {bytes} bytes; at most {limit_bytes} are taken")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The greatest size taken.
        limit_bytes: usize,
    },
    /// The file is no WebAssembly at all, or a broken one.
    #[error("not a WebAssembly component: {0}")]
    NotComponent(String),
    /// The file is a core module.
    #[error(
        "this is a core module, not a component; build it for wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// The component wants something that no workload gets.
    #[error("the component imports `{import}`, which is not offered; there are: {}", offered.join(", "))]
    Import {
        /// What it wants.
        import: String,
        /// What there is.
        offered: Vec<String>,
    },
    /// An interface that is offered is imported with other functions or types than ours.
    #[error("the component's imports do not fit this version of the agent: {0}")]
    ImportType(String),
    /// Nothing could be called.
    #[error("the component exports no function")]
    NoFunction,
    /// A function takes or gives what has no form in JSON (resources, streams, futures) or is asynchronous.
    #[error("the function `{function}` cannot be called: {message}")]
    FunctionType {
        /// Which.
        function: String,
        /// What about it.
        message: String,
    },
    /// Compiling it took more than a compilation may.
    #[error("compiling the component takes more than {limit}")]
    CompileLimit {
        /// What it may have.
        limit: String,
    },
    /// The compiler, in a process of its own, did not survive the component.
    #[error("the compiler crashed on this component")]
    CompilerCrash,
    /// What is to be answered in place of a call that runs out of time is no answer of that function.
    #[error("the default answer for `{function}`: {message}")]
    DefaultAnswer {
        /// Which function.
        function: String,
        /// What is wrong with it.
        message: String,
    },
    /// The workload does not want to work with what its operator set.
    #[error("the configuration: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Configuration(Vec<Problem>),
    /// The workload's check of its configuration failed: its writer's fault, or there is far too much to check.
    #[error("the workload's check of its configuration: {0}")]
    Check(String),
    /// The component needs more than its limits at once, or fails while it starts.
    #[error("the component does not start within its limits: {0}")]
    Start(String),
    /// This host has no room for a further instance, or is going down.
    #[error("this host cannot take a further instance: {0}")]
    Host(String),
}

impl LoadError {
    /// Whether it lies in the component or its spec, so that loading the same again on this host ends in the same way.
    #[must_use]
    pub const fn is_permanent(&self) -> bool {
        match self {
            Self::TooLarge { .. }
            | Self::NotComponent(_)
            | Self::CoreModule
            | Self::Import { .. }
            | Self::ImportType(_)
            | Self::NoFunction
            | Self::FunctionType { .. }
            | Self::DefaultAnswer { .. }
            | Self::Configuration(_) => true,
            Self::CompileLimit { .. } | Self::CompilerCrash | Self::Check(_) | Self::Start(_) | Self::Host(_) => false,
        }
    }
}

/// An entry of a configuration that a workload does not want, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` {message}")]
pub struct Problem {
    /// The entry's name.
    pub name: String,
    /// What is wrong with it.
    pub message: String,
}

/// Why a call gave no result. It changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No such workload runs on this host.
    #[error("the workload `{workload}` does not run here")]
    NotLoaded {
        /// Its name.
        workload: String,
    },
    /// The workload has no such function.
    #[error("there is no function `{function}`; there are: {}", known.join(", "))]
    UnknownFunction {
        /// What was asked for.
        function: String,
        /// What there is, as `interface.function`.
        known: Vec<String>,
    },
    /// Several interfaces have a function of this name.
    #[error("`{function}` is ambiguous; say one of: {}", candidates.join(", "))]
    AmbiguousFunction {
        /// What was asked for.
        function: String,
        /// Those that it could mean.
        candidates: Vec<String>,
    },
    /// An argument is missing, unknown or of the wrong type. The guest did not run.
    #[error("{}{message}", lead(field))]
    Argument {
        /// The path from the parameters on, such as `duels[3].a.tactic`.
        field: String,
        /// What would be right.
        message: String,
    },
    /// The arguments are larger than the workload takes. The guest did not run.
    #[error("the arguments have more than {limit_bytes} bytes")]
    ArgumentsTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The workload found fault with an argument.
    #[error("{field}: {message}")]
    Fault {
        /// The path from the parameters on.
        field: String,
        /// What would be right.
        message: String,
    },
    /// The guest ran for longer than it may.
    #[error("the call took longer than its deadline of {} ms", deadline.as_millis())]
    Deadline {
        /// How long it was allowed to run.
        deadline: Duration,
    },
    /// The caller's time was over before the guest could begin: it had waited for too long, on this host or on its way to it. The guest did
    /// not run.
    #[error("the time that the caller gave the call was over before its turn came; it was not made")]
    Expired,
    /// The guest wanted more memory or a larger table than it may have.
    #[error("the workload wanted more {what} than its limit of {limit}")]
    Memory {
        /// Bytes of memory, or elements of a table.
        what: &'static str,
        /// How much it may have.
        limit: usize,
    },
    /// The guest failed.
    #[error("the workload failed: {message}")]
    Trap {
        /// The engine's word for it.
        message: String,
    },
    /// The result is larger than it may be.
    #[error("the result has more than {limit_bytes} bytes")]
    OutputTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// The guest called the host too often.
    #[error("the workload made more than {limit} calls to the host")]
    HostCalls {
        /// The limit.
        limit: u64,
    },
    /// The guest wrote too much to the state.
    #[error("the workload wrote more than {limit} {what} in one call")]
    Writes {
        /// Objects or bytes.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The call was to be recorded, and read too much for that.
    #[error("the call reads more than the {limit_bytes} bytes of the state that can be recorded")]
    RecordingTooLarge {
        /// The limit.
        limit_bytes: usize,
    },
    /// As many calls as may wait are waiting.
    #[error("busy: {limit} calls are waiting already")]
    Busy {
        /// How many may wait.
        limit: usize,
    },
    /// More calls come than this host can make, and this one would wait for too long.
    #[error("overloaded: the call would wait for about {expected_ms} ms")]
    Overloaded {
        /// How long, in milliseconds.
        expected_ms: u64,
        /// When to try again, in milliseconds.
        retry_after_ms: u64,
    },
    /// This host has no room for a further instance, or is going down.
    #[error("this host cannot run the call: {0}")]
    Host(String),
}

/// How a message about `field` begins; one about the arguments as a whole has none to name.
fn lead(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!("{field}: ") }
}

impl CallError {
    /// Whose fault it is.
    #[must_use]
    pub const fn blame(&self) -> Blame {
        match self {
            Self::NotLoaded { .. }
            | Self::UnknownFunction { .. }
            | Self::AmbiguousFunction { .. }
            | Self::Argument { .. }
            | Self::ArgumentsTooLarge { .. }
            | Self::Fault { .. }
            | Self::RecordingTooLarge { .. } => Blame::Caller,
            Self::Deadline { .. }
            | Self::Memory { .. }
            | Self::Trap { .. }
            | Self::OutputTooLarge { .. }
            | Self::HostCalls { .. }
            | Self::Writes { .. } => Blame::Workload,
            Self::Expired | Self::Busy { .. } | Self::Overloaded { .. } | Self::Host(_) => Blame::Host,
        }
    }

    /// The argument at fault, if it is one.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Argument { field, .. } | Self::Fault { field, .. } => Some(field),
            Self::NotLoaded { .. }
            | Self::UnknownFunction { .. }
            | Self::AmbiguousFunction { .. }
            | Self::ArgumentsTooLarge { .. }
            | Self::Deadline { .. }
            | Self::Expired
            | Self::Memory { .. }
            | Self::Trap { .. }
            | Self::OutputTooLarge { .. }
            | Self::HostCalls { .. }
            | Self::Writes { .. }
            | Self::RecordingTooLarge { .. }
            | Self::Busy { .. }
            | Self::Overloaded { .. }
            | Self::Host(_) => None,
        }
    }
}
