//! `punctual-sim run`: a scenario's own arrivals, or the clients of a workload file as `punctual-bench` plays it.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use loadgen::client::wall;
use loadgen::page::write_all;
use loadgen::result::{Kind, Made, ResultFile, Series};
use loadgen::{Workload, parse_duration};
use sim::{ExecutorSpec, ModelSpec, ProfileSpec, RouterChoice, Scenario, World};

use super::command_line;

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The scenario (see sim/scenarios)
    #[arg(required_unless_present = "profiles")]
    scenario: Option<PathBuf>,
    /// In place of the scenario's or workload's own seed
    #[arg(long)]
    seed: Option<u64>,
    /// Multiplies the scenario's or workload's rates; several with commas give a sweep of a workload
    #[arg(long, value_delimiter = ',', default_value = "1")]
    load: Vec<f64>,
    /// How long requests arrive, in place of the scenario's or workload's own
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// A workload file of punctual-bench: its clients ask, and not those of the scenario
    #[arg(long, value_name = "FILE")]
    workload: Option<PathBuf>,
    /// In place of a scenario: a model of the workload and the CSV file of its latency profile (several times)
    #[arg(
        long = "profile",
        value_name = "MODEL=FILE",
        requires = "workload",
        conflicts_with = "scenario"
    )]
    profiles: Vec<String>,
    /// In place of a scenario: how many executors
    #[arg(long, default_value_t = 1, requires = "profiles", conflicts_with = "scenario")]
    executors: u32,
    /// In place of a scenario: the batching policy
    #[arg(long, requires = "profiles", conflicts_with = "scenario")]
    policy: Option<String>,
    /// What reports call the simulation
    #[arg(long, requires = "workload", default_value = "simulated")]
    name: String,
    /// Writes the result in the forms of punctual-bench: into a folder, or under that name (result.json)
    #[arg(long, value_name = "DIR|FILE", requires = "workload")]
    out: Option<PathBuf>,
}

impl Run {
    pub(crate) fn run(self) -> Result<String, String> {
        let mut scenario = self.scenario()?;
        if let Some(file) = &self.workload {
            let workload = Workload::read(file).map_err(|error| error.to_string())?;
            return self.asked(&scenario, workload);
        }
        let [load] = self.load[..] else {
            return Err("several loads need a --workload; compare has --loads".to_owned());
        };
        scenario.seed = self.seed.unwrap_or(scenario.seed);
        scenario.load *= load;
        scenario.duration = self.duration.unwrap_or(scenario.duration);
        scenario.check().map_err(|error| error.to_string())?;
        let world = World::new(&scenario).map_err(|error| error.to_string())?;
        let (report, _) = world
            .shown()
            .run()
            .map_err(|violation| format!("seed {}: {violation}", scenario.seed))?;
        Ok(format!("seed {}\n{report}", scenario.seed))
    }

    /// The file's, or one of the profiles alone.
    fn scenario(&self) -> Result<Scenario, String> {
        if let Some(file) = &self.scenario {
            return Scenario::read(file).map_err(|error| error.to_string());
        }
        let model = |text: &String| {
            let wrong = || format!("'{text}' is not MODEL=FILE");
            let (name, file) = text.split_once('=').ok_or_else(wrong)?;
            let csv = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
            // The workload's arrivals come in place of this rate.
            Ok(ModelSpec::new(name, ProfileSpec::Csv { csv }, 1.0))
        };
        Ok(Scenario {
            seed: 1,
            duration: Duration::from_secs(1),
            warmup: Duration::ZERO,
            load: 1.0,
            placement: None,
            router: RouterChoice { batching: self.policy.clone(), ..RouterChoice::default() },
            executors: vec![ExecutorSpec { count: self.executors, ..ExecutorSpec::default() }],
            models: self.profiles.iter().map(model).collect::<Result<_, String>>()?,
            compositions: Vec::new(),
        })
    }

    /// Plays the workload under each load.
    fn asked(&self, scenario: &Scenario, mut workload: Workload) -> Result<String, String> {
        let began = wall();
        workload.seed = self.seed.unwrap_or(workload.seed);
        workload.duration = self.duration.unwrap_or(workload.duration);
        let program = format!("punctual-sim {}", env!("CARGO_PKG_VERSION"));
        let mut series = Series {
            name: self.name.clone(),
            target: None,
            server: program.clone(),
            simulated: true,
            deadline_ms: workload.deadline_ms(),
            points: Vec::new(),
        };
        let mut text = String::new();
        for load in &self.load {
            if !(load.is_finite() && *load > 0.0) {
                return Err(format!("the load must be a positive number, not {load}"));
            }
            let workload = workload.times(*load);
            let scenario = Scenario {
                seed: workload.seed,
                duration: workload.warm_up + workload.duration,
                warmup: workload.warm_up,
                ..scenario.clone()
            };
            scenario.check().map_err(|error| error.to_string())?;
            let world = World::new(&scenario).and_then(|world| world.asked_by(&workload));
            let world = world.map_err(|error| error.to_string())?.shown();
            let (point, report) = world
                .run_asked(&workload)
                .map_err(|violation| format!("seed {}: {violation}", workload.seed))?;
            text += &format!("{}, seed {}\n{report}\n", point.load, point.seed);
            series.points.push(point);
        }
        if let Some(path) = &self.out {
            let kind = if self.load.len() > 1 { Kind::Sweep } else { Kind::Run };
            let file = self.workload.as_ref().and_then(|file| file.file_stem()).unwrap_or_default();
            let title = format!("{} in virtual time", file.to_string_lossy());
            let mut result =
                ResultFile::new(kind, &title, &Made { program, command: command_line(), began });
            result.series.push(series);
            let page = write_all(&result, began, path).map_err(|error| error.to_string())?;
            text += &format!("wrote {}\n", page.display());
        }
        Ok(text)
    }
}
