//! The gate as a process with its certificate in a directory: rotation, attacks, and what it logs.

use std::{
    convert::Infallible,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine};
use certs::{Authority, service_names};
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request,
    body::{Bytes, Frame},
    client::conn::http2,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tempfile::TempDir;
use tests::{
    Client, Cluster, Error, PLUG, Program, Result, Running, eventually, figures::quantile, free_address, get,
};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What the pod of the gate may have, half of it spared.
const MEMORY: u64 = 128 * 1024;
/// Below this a review may take more than twice the usual time: other work of the machine does
/// that. Without the limits it takes seconds.
const FLOOR: Duration = Duration::from_millis(500);
const LARGEST_BODY: usize = 7 * 1024 * 1024;

/// A running gate, and who signs its certificate.
struct Gate {
    program: Running,
    client: Client,
    admin: std::net::SocketAddr,
    volume: Volume,
    authority: Authority,
}

impl Gate {
    async fn started() -> Result<Self> {
        let cluster = Cluster::connect().await?;
        let authority = Authority::generate(OffsetDateTime::now_utc()).map_err(unexpected)?;
        let mut volume = Volume::new()?;
        volume.put(&signed(&authority)?)?;
        let (listen, admin) = (free_address()?, free_address()?);
        let program = Program::webhook()?
            .flag("--config", volume.path("config.json", "{}")?)
            .flag("--kubeconfig", cluster.kubeconfig())
            .flag("--certificate-dir", volume.directory.path())
            .flag("--namespace", "ns")
            .flag("--service-name", "gate")
            .flag("--listen", listen.to_string())
            .flag("--admin-listen", admin.to_string())
            .start()?;
        let [name, ..] = service_names("gate", "ns");
        let gate = Self {
            program,
            client: Client::new(listen, &name, &authority)?,
            admin,
            volume,
            authority,
        };
        eventually(PLUG, "the gate is ready", async || gate.is_ready().await).await?;
        Ok(gate)
    }

    async fn is_ready(&self) -> Result<()> {
        let (code, body) = get(self.admin, "/readyz").await?;
        (code == 200).then_some(()).ok_or(Error::Unexpected(body))
    }

    async fn shows(&self, metric: &str) -> Result<()> {
        eventually(PLUG, format!("the metric {metric}"), async || {
            let (_, text) = get(self.admin, "/metrics").await?;
            let shown = text.lines().any(|line| line.contains(metric));
            shown.then_some(()).ok_or(Error::Unexpected(text))
        })
        .await
    }

    /// The median of 21 reviews, each over a connection of its own.
    async fn review_takes(&self) -> Result<Duration> {
        let mut times = Vec::new();
        for _ in 0..21 {
            let begun = std::time::Instant::now();
            self.fills("blue", "blue@net1").await?;
            times.push(begun.elapsed());
        }
        Ok(quantile(&times, 50))
    }

    /// So many clients are connected, or were at once.
    async fn shows_many_connections(&self, count: usize) -> Result<()> {
        eventually(PLUG, format!("{count} connections"), async || {
            let (_, text) = get(self.admin, "/metrics").await?;
            let open = text.lines().find_map(|line| {
                let value = line.strip_prefix("dynamic_networks_webhook_connections ")?;
                value.trim().parse::<usize>().ok()
            });
            // Some have just been cut.
            open.filter(|open| 10 * open >= 8 * count)
                .map(drop)
                .ok_or(Error::Unexpected(format!("{open:?} connections")))
        })
        .await
    }

    /// A review of a pod with these networks is answered as it should be.
    async fn fills(&self, networks: &str, expected: &str) -> Result<()> {
        let answer = self
            .client
            .post("/mutate", "", review(networks).to_string().as_bytes())
            .await?;
        let response = response(&answer)?;
        let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap_or_default());
        let patch = String::from_utf8_lossy(&patch.map_err(unexpected)?).into_owned();
        patch
            .contains(expected)
            .then_some(())
            .ok_or_else(|| Error::Unexpected(format!("{patch} in {answer:?}")))
    }
}

type Files = (String, String);

fn signed(authority: &Authority) -> Result<Files> {
    authority
        .sign_pem(&service_names("gate", "ns"), OffsetDateTime::now_utc())
        .map_err(unexpected)
}

/// A directory as the kubelet lays out a Secret volume.
struct Volume {
    directory: TempDir,
    generation: usize,
}

impl Volume {
    fn new() -> Result<Self> {
        let directory = tempfile::tempdir().map_err(unexpected)?;
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), directory.path().join(file)).map_err(unexpected)?;
        }
        Ok(Self {
            directory,
            generation: 0,
        })
    }

    fn path(&self, name: &str, content: &str) -> Result<PathBuf> {
        let path = self.directory.path().join(name);
        std::fs::write(&path, content).map_err(unexpected)?;
        Ok(path)
    }

    fn put(&mut self, (certificate, key): &Files) -> Result<()> {
        self.generation += 1;
        let target = format!("..{}", self.generation);
        let put = || {
            let (content, link) = (
                self.directory.path().join(&target),
                self.directory.path().join("..new"),
            );
            std::fs::create_dir(&content)?;
            std::fs::write(content.join("tls.crt"), certificate)?;
            std::fs::write(content.join("tls.key"), key)?;
            symlink(&target, &link)?;
            std::fs::rename(link, self.directory.path().join("..data"))
        };
        put().map_err(unexpected)
    }
}

fn review(networks: &str) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "the-uid-of-the-review", "operation": "CREATE", "namespace": "some-namespace",
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": {
                "metadata": {"name": "p", "annotations": {shared::annotations::NETWORKS: networks}},
                "spec": {"containers": [{"name": "app", "env": [{"name": "PASSWORD", "value": "a-secret-of-the-pod"}]}]},
            },
        },
    })
}

/// The `response` of a well-formed answer.
fn response((code, body): &(u16, String)) -> Result<Value> {
    let answer: Value =
        serde_json::from_str(body).map_err(|e| Error::Unexpected(format!("{code} {body}: {e}")))?;
    let response = &answer["response"];
    let whole =
        *code == 200 && response["uid"] == "the-uid-of-the-review" && response["allowed"].is_boolean();
    whole
        .then(|| response.clone())
        .ok_or_else(|| Error::Unexpected(format!("{code} {body}")))
}

fn unexpected(error: impl std::fmt::Display) -> Error {
    Error::Unexpected(error.to_string())
}

#[tokio::test]
async fn follows_its_directory_and_keeps_a_good_pair_over_a_bad_one() -> Result<()> {
    let mut gate = Gate::started().await?;
    for round in 1..=3 {
        let good = signed(&gate.authority)?;
        gate.volume.put(&good)?;
        gate.shows(&format!(
            "certificate_loads_total{{outcome=\"ok\"}} {}",
            round + 1
        ))
        .await?;
        gate.fills("blue", "blue@net1").await?;
    }
    let good = signed(&gate.authority)?;
    let other = signed(&gate.authority)?;
    for (bad, outcome) in [
        (
            (good.0[..good.0.len() / 2].to_owned(), good.1.clone()),
            "unreadable",
        ),
        ((String::new(), String::new()), "empty"),
        ((good.0.clone(), other.1), "mismatch"),
    ] {
        gate.volume.put(&bad)?;
        gate.shows(&format!("certificate_loads_total{{outcome=\"{outcome}\"}} 1"))
            .await?;
        gate.fills("blue", "blue@net1").await?;
        gate.is_ready().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_line_of_the_log_names_the_review_and_nothing_of_the_pod() -> Result<()> {
    let mut gate = Gate::started().await?;
    gate.fills("blue", "blue@net1").await?;
    let refused = gate
        .client
        .post("/validate", "", review("blue@eth0").to_string().as_bytes())
        .await?;
    assert_eq!(response(&refused)?["allowed"], false);
    let mut broken = review("blue");
    broken["request"]["object"]["metadata"]["annotations"] = json!(["a-secret-of-the-pod"]);
    let broken = gate
        .client
        .post("/validate", "", broken.to_string().as_bytes())
        .await?;
    assert_eq!(response(&broken)?["allowed"], false);

    gate.program.still_runs()?;
    let log = gate.program.terminate().await?.text;
    let reviews = log
        .lines()
        .filter(|line| line.contains("the-uid-of-the-review"))
        .count();
    assert_eq!(reviews, 3, "{log}");
    assert!(log.contains("interface-reserved"), "{log}");
    assert!(
        !log.contains("a-secret-of-the-pod") && !log.contains("blue"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn an_attack_gets_clean_answers_and_holds_up_nobody() -> Result<()> {
    let mut gate = Gate::started().await?;
    let mut attackers = tokio::task::JoinSet::new();
    for _ in 0..100 {
        let idle = gate.client.connect().await.map_err(unexpected)?;
        attackers.spawn(async move { drip(idle, "").await });
    }
    for begun in [
        "POST /mutate HTTP/1.1\r\nx: ",
        &beginning(LARGEST_BODY),
        &beginning(1000),
    ] {
        for _ in 0..30 {
            let (stream, begun) = (gate.client.connect().await.map_err(unexpected)?, begun.to_owned());
            attackers.spawn(async move { drip(stream, &begun).await });
        }
    }
    let large = large_review();
    let floods = (0..16).map(|_| gate.client.post("/mutate", "", &large));
    let usual = async {
        for _ in 0..20 {
            let begun = std::time::Instant::now();
            gate.fills("blue", "blue@net1").await?;
            let took = begun.elapsed();
            // An API server waits for five seconds.
            assert!(took < Duration::from_secs(4), "{took:?}");
        }
        Ok(())
    };
    let ((), floods) = futures::try_join!(usual, futures::future::try_join_all(floods))?;
    for flood in floods {
        let refused = matches!(flood.0, 408 | 503);
        assert!(refused || response(&flood).is_ok(), "{flood:?}");
    }
    for (body, headers, wanted) in oddities()? {
        let answer = gate.client.post("/validate", headers, &body).await?;
        let shown = String::from_utf8_lossy(&body[..body.len().min(80)]).into_owned();
        match wanted {
            Some(code) => assert_eq!(answer.0, code, "{shown}: {answer:?}"),
            None => assert_eq!(response(&answer)?["allowed"], false, "{shown}: {answer:?}"),
        }
    }

    let peak = gate.program.peak_memory()?;
    println!("peak memory: {peak} KiB");
    assert!(peak < MEMORY, "{peak} KiB");
    gate.fills("blue", "blue@net1").await?;
    gate.program.still_runs()?;
    attackers.abort_all();
    let log = gate.program.terminate().await?.text;
    assert!(!log.contains("panicked"), "{log}");
    Ok(())
}

/// Clients that leave bodies unfinished, open connections, or read no answers.
#[tokio::test]
async fn stalled_clients_delay_no_review() -> Result<()> {
    let mut gate = Gate::started().await?;
    let usual = gate.review_takes().await?;
    let stalls: [(&str, Attack, usize); 4] = [
        ("nearly whole bodies", |client| Box::pin(nearly_whole(client)), 66),
        ("idle connections", |client| Box::pin(idle(client)), 300),
        ("many streams", |client| Box::pin(streams(client)), 8),
        ("answers that nobody reads", |client| Box::pin(unread(client)), 8),
    ];
    for (name, stall, count) in stalls {
        let mut clients = tokio::task::JoinSet::new();
        for _ in 0..count {
            let client = gate.client.clone();
            clients.spawn(async move {
                // Who is cut comes again, but not at once: handshakes cost the processor, not the
                // limits.
                loop {
                    let _ = tokio::time::timeout(Duration::from_secs(20), stall(client.clone())).await;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            });
        }
        gate.shows_many_connections(count.min(256)).await?;
        let took = gate.review_takes().await?;
        println!("{name}: a review takes {took:?}, usually {usual:?}");
        assert!(
            took < (2 * usual).max(FLOOR),
            "{name}: {took:?}, usually {usual:?}"
        );
    }
    let peak = gate.program.peak_memory()?;
    println!("peak memory: {peak} KiB");
    assert!(peak < MEMORY, "{peak} KiB");
    gate.program.still_runs()
}

type Attack = fn(Client) -> Stall;
type Stall = std::pin::Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// All but the last bytes of a body of the usual size.
async fn nearly_whole(client: Client) -> Result<()> {
    let mut stream = client.connect().await.map_err(unexpected)?;
    let head = "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 261900\r\n\r\n";
    stream.write_all(head.as_bytes()).await.map_err(unexpected)?;
    stream
        .write_all(&vec![b' '; 255 * 1024])
        .await
        .map_err(unexpected)?;
    stream.flush().await.map_err(unexpected)?;
    until_closed(stream).await
}

async fn idle(client: Client) -> Result<()> {
    until_closed(client.connect().await.map_err(unexpected)?).await
}

async fn until_closed(mut stream: impl AsyncReadExt + Unpin) -> Result<()> {
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.map(drop).map_err(unexpected)
}

/// As many requests over one HTTP/2 connection as it takes, none of them whole.
async fn streams(client: Client) -> Result<()> {
    let begun = Bytes::from(vec![b' '; 60_000]);
    http2(client, None, move || {
        let begun = begun.clone();
        let begun = stream::once(async move { Ok::<_, Infallible>(Frame::data(begun)) });
        let body = StreamBody::new(begun.chain(stream::pending()));
        (261_900, body.boxed_unsync())
    })
    .await
}

/// Whole requests with large answers, for which the client opens no window.
async fn unread(client: Client) -> Result<()> {
    let networks = format!("[{{\"name\":\"blue\",\"x\":\"{}\"}}]", "\u{7f}".repeat(60_000));
    let body = Bytes::from(review(&networks).to_string());
    http2(client, Some(1), move || {
        (body.len(), Full::new(body.clone()).boxed_unsync())
    })
    .await
}

async fn http2(
    client: Client,
    window: Option<u32>,
    body: impl Fn() -> (usize, UnsyncBoxBody<Bytes, Infallible>),
) -> Result<()> {
    let stream = client.connect().await.map_err(unexpected)?;
    let (mut sender, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(unexpected)?;
    let requests = async {
        let mut answers = Vec::new();
        for _ in 0..100 {
            let (length, body) = body();
            let request = Request::post("https://x/mutate")
                .header("content-type", "application/json")
                .header("content-length", length)
                .body(body)
                .map_err(unexpected)?;
            sender.ready().await.map_err(unexpected)?;
            answers.push(tokio::spawn(sender.send_request(request)));
        }
        std::future::pending::<Result<()>>().await
    };
    tokio::select! {
        ended = connection => ended.map_err(unexpected),
        never = requests => never,
    }
}

/// Writes the beginning of a request, then a byte a second, for as long as the server takes it.
async fn drip(mut stream: impl AsyncWriteExt + Unpin, begun: &str) {
    let _ = stream.write_all(begun.as_bytes()).await;
    while !begun.is_empty() && stream.write_all(b" ").await.and(stream.flush().await).is_ok() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    // Whoever says nothing waits, too.
    std::future::pending::<()>().await;
}

fn beginning(length: usize) -> String {
    format!(
        "POST /mutate HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{{"
    )
}

/// A valid review, nearly as large as a body may be.
fn large_review() -> Vec<u8> {
    let mut review = review("blue");
    review["request"]["object"]["spec"]["filler"] = "x".repeat(LARGEST_BODY - 10_000).into();
    review.to_string().into_bytes()
}

type Oddity = (Vec<u8>, &'static str, Option<u16>);

/// Bodies that are no good, with further headers, and the HTTP status that they get; without one, a
/// refusal.
fn oddities() -> Result<Vec<Oddity>> {
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let with = |pointer: &str, value: Value| {
        let mut review = review("blue@net1");
        if let Some(place) = review.pointer_mut(pointer) {
            *place = value;
        }
        review.to_string().into_bytes()
    };
    let networks = "/request/object/metadata/annotations/k8s.v1.cni.cncf.io~1networks";
    let bomb = bomb()?;
    Ok(vec![
        (bomb.clone(), "content-encoding: gzip\r\n", Some(415)),
        (bomb, "", Some(400)),
        (vec![b' '; LARGEST_BODY + 1], "", Some(413)),
        (deep(10_000).into_bytes(), "", Some(400)),
        (Vec::new(), "", Some(400)),
        (b"null".to_vec(), "", Some(400)),
        (b"\0\0\0\0".to_vec(), "", Some(400)),
        (
            with("/apiVersion", json!("admission.k8s.io/v1beta1")),
            "",
            Some(400),
        ),
        (with("/kind", json!("Review")), "", Some(400)),
        (with("/request", Value::Null), "", Some(400)),
        (with("/request/uid", Value::Null), "", Some(400)),
        (with("/request/object", Value::Null), "", None),
        (with("/request/object", json!([])), "", None),
        (with("/request/operation", json!("UPDATE")), "", None),
        (with("/request/namespace", Value::Null), "", None),
        (
            with("/request/object/metadata/annotations", json!("text")),
            "",
            None,
        ),
        (with(networks, json!(deep(10_000))), "", None),
        (with(networks, json!(["blue"])), "", None),
    ])
}

/// A hundred megabytes, packed.
fn bomb() -> Result<Vec<u8>> {
    let output = std::process::Command::new("sh")
        .args(["-ec", "head -c 100000000 /dev/zero | gzip -1"])
        .output()
        .map_err(unexpected)?;
    if output.stdout.len() < 10_000 || !output.status.success() {
        return Err(unexpected(String::from_utf8_lossy(&output.stderr)));
    }
    Ok(output.stdout)
}
