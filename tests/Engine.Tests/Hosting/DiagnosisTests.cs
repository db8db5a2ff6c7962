// doctor's verdicts: what the main job cannot do without is missing, and every finding that is not good comes with its fix.
using OrionNative.Engine.Hosting;

namespace OrionNative.Engine.Tests.Hosting;

public class DiagnosisTests
{
    [Fact]
    public void Quic_ThatCannotBeUsed_IsMissingWithItsFix()
    {
        Finding found = Diagnosis.Quic("QUIC needs ngtcp2 1.11 or newer, below 2.0; found 0.12.1. Fix: install libngtcp2-16.");
        Assert.Equal((FindingKind.Missing, "install libngtcp2-16."), (found.Kind, found.Fix));
        Assert.StartsWith("QUIC needs ngtcp2 1.11 or newer, below 2.0; found 0.12.1. Without it", found.Text, StringComparison.Ordinal);
        Assert.Equal(FindingKind.Good, Diagnosis.Quic(null).Kind);
    }

    [Fact]
    public void Findings_ThatAreNotGood_HaveAFix() =>
        Assert.All(Diagnosis.Examine().Where(finding => finding.Kind != FindingKind.Good), finding => Assert.False(string.IsNullOrEmpty(finding.Fix), finding.ToString()));
}
