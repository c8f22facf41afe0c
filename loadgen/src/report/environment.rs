//! Where a run was made: kernel, processor, kind of I/O, source version.
//!
//! Owns how these are found. What the system does not tell is `None`; a report is never refused for lack of it.

use serde::Serialize;

/// What a reader needs to judge the numbers of a report.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Environment {
    pub(crate) kernel: Option<String>,
    pub(crate) cpu: Option<String>,
    pub(crate) cores: usize,
    /// What `auto` became.
    pub(crate) io: &'static str,
    /// Whether trains of packets left in one piece.
    pub(crate) gso: bool,
    /// The commit this program was built from.
    pub(crate) git: Option<&'static str>,
}

impl Environment {
    pub(crate) fn here(io: &'static str, gso: bool) -> Self {
        let read = |path| std::fs::read_to_string(path).ok();
        Self {
            kernel: read("/proc/sys/kernel/osrelease").map(|text| text.trim().to_owned()),
            cpu: read("/proc/cpuinfo").as_deref().and_then(cpu_model).map(str::to_owned),
            cores: cores(),
            io,
            gso,
            git: option_env!("LOADGEN_GIT"),
        }
    }
}

/// The cores this process may use.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// The model in `/proc/cpuinfo`, where the architecture tells one.
fn cpu_model(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(':').map(|(_, model)| model.trim()).filter(|model| !model.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_found_where_there_is_one() {
        let text = "processor\t: 0\nmodel\t\t: 17\nmodel name\t: AMD EPYC 7R13\nflags\t: fpu\n";
        assert_eq!(cpu_model(text), Some("AMD EPYC 7R13"));
        assert_eq!(cpu_model("processor\t: 0\nBogoMIPS\t: 100.00\n"), None);
        assert_eq!(cpu_model("model name\t: \n"), None);
    }

    #[test]
    fn this_machine_has_a_kernel_and_a_core() {
        let here = Environment::here("uring", true);
        assert!(here.kernel.is_some_and(|kernel| !kernel.is_empty() && !kernel.contains('\n')));
        assert!(here.cores >= 1);
    }
}
