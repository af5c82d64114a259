//! The closed sets that label figures. A new reason to drop something is a line here.

/// A set of labels: the enum, all of its values in order, and their text.
macro_rules! labels {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All values, in order.
            pub const ALL: [Self; [$($text),+].len()] = [$(Self::$variant),+];

            /// The label's text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }
    };
}

labels! {
    /// How a call ended.
    Outcome {
        /// With a result.
        Ok = "ok",
        /// Refused: the caller's fault.
        Refused = "refused",
        /// The guest trapped.
        Trapped = "trapped",
        /// Out of time.
        TimedOut = "timed_out",
        /// Turned away: too many calls.
        Busy = "busy",
        /// No instance could be reached.
        Unavailable = "unavailable",
    }
}

labels! {
    /// Who made a commit.
    Origin {
        /// This host.
        Local = "local",
        /// Another one.
        Remote = "remote",
    }
}

labels! {
    /// Which way.
    Direction {
        /// To this host.
        In = "in",
        /// From this host.
        Out = "out",
    }
}
