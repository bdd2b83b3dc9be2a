//! Steps with a name and a duration, and the line that sums them up.

use std::time::{Duration, Instant};

use crate::failure::{Failure, Result};

/// The steps of one run, in the order they were taken.
#[derive(Default)]
pub(super) struct Steps {
    passed: Vec<&'static str>,
    failed: Option<&'static str>,
    start: Option<Instant>,
}

impl Steps {
    /// Takes one step, announced by its name.
    pub(super) fn run<T>(
        &mut self,
        name: &'static str,
        step: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let start = Instant::now();
        self.start.get_or_insert(start);
        println!("==> {name}");
        let result = step();
        let took = described(start.elapsed());
        match &result {
            Ok(_) => {
                println!("    {name}: passed, {took}");
                self.passed.push(name);
            }
            Err(_) => {
                println!("    {name}: FAILED, {took}");
                // What is done after a failure, to tidy up, is not its cause.
                self.failed.get_or_insert(name);
            }
        }
        result
    }

    /// The last line of the run: printed if all passed, else the failure.
    pub(super) fn conclude(self, result: Result<()>, left_out: &str) -> Result<()> {
        let took = described(self.start.map_or(Duration::ZERO, |start| start.elapsed()));
        let passed = if self.passed.is_empty() {
            "nothing".to_owned()
        } else {
            self.passed.join(", ")
        };
        match result {
            Ok(()) => {
                println!("cargo xtask test: ALL PASSED in {took}: {passed}{left_out}");
                Ok(())
            }
            Err(failure) => Err(Failure::new(format!(
                "{}\ncargo xtask test: FAILED in step `{}` after {took}; passed: {passed}{left_out}",
                failure.message(),
                self.failed.unwrap_or("none"),
            ))),
        }
    }
}

fn described(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 {
        format!("{:.1} s", duration.as_secs_f64())
    } else {
        format!("{} min {} s", seconds / 60, seconds % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_conclusion_names_the_step_that_failed_and_not_the_tidying_after_it() {
        let mut steps = Steps::default();
        steps.run("one", || Ok(())).expect("passes");
        let result = steps.run("two", || Err::<(), _>(Failure::new("a reason")));
        steps
            .run("tidy up", || Err::<(), _>(Failure::new("another")))
            .expect_err("fails");
        let said = steps
            .conclude(result, "")
            .expect_err("must fail")
            .message()
            .to_owned();
        let last = said.lines().last().expect("a line");
        assert!(said.starts_with("a reason\n"), "{said}");
        assert!(
            last.contains("FAILED in step `two`") && last.contains("passed: one"),
            "{said}"
        );
    }

    #[test]
    fn a_duration_is_given_in_the_unit_that_fits() {
        assert_eq!(described(Duration::from_millis(1540)), "1.5 s");
        assert_eq!(described(Duration::from_secs(125)), "2 min 5 s");
    }
}
