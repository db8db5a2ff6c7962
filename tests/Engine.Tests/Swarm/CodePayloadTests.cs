using OrionNative.Engine.Pipeline;

namespace OrionNative.Engine.Tests.Swarm;

public class CodePayloadTests
{
    [Theory]
    [InlineData(1, 256)]
    [InlineData(2, 4096)]
    [InlineData(4, 128_256)]
    public void Ids_WrittenBehindACodeAndRead_AreInputsAndTargets(int idBytes, int vocabulary)
    {
        CodePayload payload = new(WireFormat.BFloat16, Sequences: 3, Tokens: 5, Width: 2, idBytes);
        Random random = new(7);
        int[] inputs = new int[15], targets = new int[15], inputsRead = new int[15], targetsRead = new int[15];
        for (int i = 0; i < 15; i++)
        {
            inputs[i] = random.Next(vocabulary);
        }

        for (int i = 0; i < 15; i++)
        {
            targets[i] = i % 5 == 4 ? random.Next(vocabulary) : inputs[i + 1];
        }

        byte[] ids = new byte[payload.IdsBytes];
        Assert.Equal(3 * 6 * idBytes, ids.Length);
        payload.WriteIds(inputs, targets, ids);
        payload.ReadIds(ids, vocabulary, inputsRead, targetsRead);
        Assert.Equal(inputs, inputsRead);
        Assert.Equal(targets, targetsRead);
    }

    [Fact]
    public void Ids_OutsideTheVocabulary_AreRefusedByValue()
    {
        CodePayload payload = new(WireFormat.Int8, 1, 2, 4, 2);
        byte[] ids = new byte[payload.IdsBytes];
        payload.WriteIds([9, 10], [10, 300], ids);
        var error = Assert.Throws<InvalidDataException>(() => payload.ReadIds(ids, 300, new int[2], new int[2]));
        Assert.Contains("token id 300", error.Message);
    }

    [Fact]
    public void Bytes_OfTheOrionBoundary_AreThePublishedOnes() =>
        Assert.Equal(2_304_000, new CodePayload(WireFormat.BFloat16, 10, 800, 144, 4).CodeBytes);
}
