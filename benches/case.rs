//! One thing to measure: set up once, then done again and again. The same cases are timed by
//! criterion and counted under callgrind.

pub(crate) type Step = Box<dyn FnMut()>;

pub(crate) struct Case {
    pub(crate) subject: &'static str,
    pub(crate) name: String,
    /// How many of what the figures are given for one step does.
    pub(crate) count: u64,
    /// Whether its instructions belong into the table: they must not depend on other threads, and
    /// the set-up must be bearable under callgrind.
    pub(crate) is_counted: bool,
    pub(crate) set_up: Box<dyn Fn() -> Step>,
}

impl Case {
    pub(crate) fn new(
        subject: &'static str,
        name: impl Into<String>,
        set_up: impl Fn() -> Step + 'static,
    ) -> Case {
        Case {
            subject,
            name: name.into(),
            count: 1,
            is_counted: true,
            set_up: Box::new(set_up),
        }
    }

    pub(crate) fn of(self, count: u64) -> Case {
        Case { count, ..self }
    }

    pub(crate) fn counted_if(self, is_counted: bool) -> Case {
        Case { is_counted, ..self }
    }
}
