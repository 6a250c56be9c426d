//! Keys with capitals, as a file of `tests/cases/` has them: in kube-system, where the webhook is
//! not asked, and with another agent.

use rstest::rstest;
use tests::{Result, alone_in_kube_system};

#[rstest]
#[case::by_the_same_agent(false)]
#[case::after_a_restart(true)]
#[tokio::test]
async fn a_corrected_spelling_of_keys_is_quiet(#[case] restart: bool) -> Result<()> {
    alone_in_kube_system(async |ns| {
        let pod = ns.case("10-capital-keys.yaml").await?.pod;
        let plugged = pod.interface("eth2").await?;
        if restart {
            ns.cluster.restart_agent().await?;
        }

        pod.annotate(r#"[{"name":"case10","interface":"eth2"}]"#).await?;
        ns.cluster.agent_knows(&ns.name, &pod).await?;
        pod.has_exactly(&["eth2"]).await?;
        assert_eq!(pod.interface("eth2").await?, plugged);
        pod.annotate("[]").await?;
        pod.has_exactly(&[]).await?;

        // The list could not be read before it was corrected.
        let mut events = pod.events().await?;
        events.retain(|event| event.warning && !event.message.contains("cannot be read"));
        assert!(events.is_empty(), "{events:?}");
        Ok(())
    })
    .await
}
