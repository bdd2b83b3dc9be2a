//! `churnwatch schema`: the contracts of our records, for programs.

use clap::Args;

use crate::{
    exit::{Exit, Failure, OrExit},
    output,
};

/// Arguments of `schema`.
#[derive(Debug, Args)]
pub(crate) struct SchemaArgs {
    /// Which one, by the file name without `.schema.json`, or `asyncapi`.
    /// Without it, the names are listed.
    name: Option<String>,
}

const SUFFIX: &str = ".schema.json";

pub(crate) fn run(args: &SchemaArgs) -> Result<(), Exit> {
    let schemas = churnwatch_wire::schemas();
    let names = || {
        schemas
            .iter()
            .map(|(file, _)| file.trim_end_matches(SUFFIX))
    };
    let Some(name) = &args.name else {
        let list: String = names()
            .chain(["asyncapi"])
            .flat_map(|name| [name, "\n"])
            .collect();
        return output::print(&list).or_exit(Failure::Output);
    };
    if name == "asyncapi" {
        let text = format!("{:#}\n", churnwatch_wire::asyncapi());
        return output::print(&text).or_exit(Failure::Output);
    }
    match schemas
        .iter()
        .find(|(file, _)| file.trim_end_matches(SUFFIX) == name)
    {
        Some((_, schema)) => output::print(&format!("{schema:#}\n")).or_exit(Failure::Output),
        None => Err(Exit {
            failure: Failure::Usage,
            error: anyhow::anyhow!(
                "there is no schema {name:?}; there are: {}, asyncapi",
                names().collect::<Vec<_>>().join(", ")
            ),
        }),
    }
}
