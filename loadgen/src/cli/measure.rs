//! One run after another against one server, each as a point of a result.

use clap::Args;
use loadgen::client::{Plan, Played, Stop, Target, Watch};
use loadgen::result::{Point, Series, ServerView};
use loadgen::{Error, Workload};

use super::asked::Asked;
use super::live::{Live, Until};

/// What the server says of itself, and where.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server side")]
pub(crate) struct Seen {
    /// What reports call the server; by default the name and version that it gives.
    #[arg(long)]
    name: Option<String>,
    /// Reads the statistics extension there; by default at the server's own URL, of a gRPC server at port 8000.
    #[arg(long, value_name = "URL")]
    statistics: Option<Target>,
    /// Reads Prometheus metrics there; by default at http://HOST:8002/metrics.
    #[arg(long, value_name = "URL")]
    metrics: Option<Target>,
}

impl Seen {
    /// The usual places, under a name.
    pub(super) fn named(name: Option<String>) -> Self {
        Self { name, statistics: None, metrics: None }
    }
}

/// A server under measurement.
pub(super) struct Measure<'a> {
    asked: &'a Asked,
    target: Target,
    watch: Watch,
    /// Ends the run that goes on and says whether that was asked.
    pub(super) stop: Stop,
    /// Its points so far.
    pub(super) series: Series,
}

impl<'a> Measure<'a> {
    pub(super) fn new(
        asked: &'a Asked,
        seen: &Seen,
        target: &Target,
        workload: &Workload,
    ) -> Result<Self, Error> {
        let models: Vec<&str> =
            workload.clients.iter().map(|clients| clients.model.as_str()).collect();
        let mut watch = Watch::of(target, &asked.tls(), &models);
        if let Some(url) = &seen.statistics {
            watch.statistics_at(url.clone());
        }
        if let Some(url) = &seen.metrics {
            watch.metrics_at(url.clone());
            if !watch.has_metrics()? {
                eprintln!("punctual-bench: there are no metrics at {url}");
            }
        }
        let server = watch.server()?.unwrap_or_else(|| target.to_string());
        let series = Series {
            name: seen.name.clone().unwrap_or_else(|| server.clone()),
            target: Some(target.to_string()),
            server,
            simulated: false,
            deadline_ms: workload.deadline_ms(),
            points: Vec::new(),
        };
        Ok(Self { asked, target: target.clone(), watch, stop: Stop::default(), series })
    }

    /// Plays a workload and adds its point.
    pub(super) fn run(
        &mut self,
        workload: &Workload,
        stable: Option<f64>,
    ) -> Result<Played, Error> {
        let plan = self.asked.plan(workload, &self.target)?;
        let (played, server) = self.play(&plan, stable)?;
        let mut point = Point::played(&played, &workload.names());
        point.load = workload.in_words();
        point.seed = workload.seed;
        point.server = server;
        self.add(point);
        Ok(played)
    }

    /// Plays a plan and reads what the server says of it.
    pub(super) fn play(
        &self,
        plan: &Plan,
        stable: Option<f64>,
    ) -> Result<(Played, Option<ServerView>), Error> {
        let before = self.watch.read()?;
        let until = Until { duration: plan.duration, stable };
        let (live, mut watch) = Live::start(until, self.stop.clone(), !self.asked.quiet);
        let played = plan.run_interruptible(&self.stop, move |record| watch.ended(record));
        live.end();
        let played = played?;
        let server = self.watch.read()?.since(&before);
        let says = !server.models.is_empty() || !server.counters.is_empty();
        Ok((played, says.then_some(server)))
    }

    /// Adds the point of a run.
    pub(super) fn add(&mut self, point: Point) {
        self.series.points.push(point);
    }

    /// The point of the last run.
    pub(super) fn last(&self) -> &Point {
        self.series.points.last().expect("a run was played")
    }

    /// The same, to be completed.
    pub(super) fn last_mut(&mut self) -> &mut Point {
        self.series.points.last_mut().expect("a run was played")
    }

    /// Whether Ctrl-C has ended the last run.
    pub(super) fn interrupted(&self) -> bool {
        self.stop.is_asked()
    }
}
