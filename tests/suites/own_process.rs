//! No suite, but what several share: processes of their own for tests that need one. Such a test starts its own binary again, for
//! itself alone; in the new process [`job`] tells it what to do.

use std::process::{Command, Output};

/// The name of the variable that holds a new process's job.
const JOB: &str = "STRAIT_TEST_JOB";

/// What this process was started for: the lines of its job.
pub fn job() -> Option<Vec<String>> {
    let job = std::env::var(JOB).ok()?;
    Some(job.split('\n').map(String::from).collect())
}

/// What runs `test` alone with a job.
pub fn command(test: &str, job: &[&str]) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([test, "--exact", "--nocapture"]).env(JOB, job.join("\n"));
    Ok(command)
}

/// Runs `test` with a job; it must pass.
pub fn start(test: &str, job: &[&str]) {
    let Output { status, stdout, stderr } = command(test, job).unwrap().output().unwrap();
    let said = String::from_utf8_lossy(&stdout);
    assert!(status.success() && said.contains("1 passed"), "{said}{}", String::from_utf8_lossy(&stderr));
}
