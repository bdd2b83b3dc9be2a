//! Tools that come as Python packages: whole binaries in fixed versions, into a
//! folder of their own in the cache.

use std::path::PathBuf;
use std::process::Command;

use crate::failure::{Result, While};
use crate::{process, workspace};

/// Tools that are installed together.
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Installs `packages`, each with its version, into the folder `name` of
    /// the cache, unless they are there; `probe` is one of the tools.
    pub(crate) fn install(name: &str, packages: &[&str], probe: &str) -> Result<Self> {
        let folder = workspace::cache()?.join(name);
        let tools = Self { folder };
        let wanted = packages.join("\n");
        // Written last, so an installation cut short is begun again.
        let installed = tools.folder.join("installed.txt");
        if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted)
            && tools.works(probe)
        {
            return Ok(tools);
        }
        eprintln!(
            "installing {} into {}",
            packages.join(", "),
            tools.folder.display()
        );
        process::run_aside(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&tools.folder),
        )?;
        let mut pip = tools.command("python3");
        pip.args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--only-binary",
            ":all:",
        ]);
        process::run_aside(pip.args(packages))?;
        std::fs::write(&installed, wanted)
            .while_doing(|| format!("write {}", installed.display()))?;
        Ok(tools)
    }

    /// A folder kept in a cache outlives the Python it was made with.
    fn works(&self, probe: &str) -> bool {
        process::capture(self.command(probe).arg("--version")).is_ok()
    }

    /// One of the tools, ready for its arguments.
    pub(crate) fn command(&self, tool: &str) -> Command {
        Command::new(self.path(tool))
    }

    fn path(&self, tool: &str) -> PathBuf {
        self.folder.join("bin").join(tool)
    }
}
