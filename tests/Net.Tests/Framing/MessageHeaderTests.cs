// The header's bytes: every field round-trips, every truncation and every byte that must be fixed is refused.
using FsCheck;
using FsCheck.Fluent;
using OrionNative.Net.Framing;

namespace OrionNative.Net.Tests.Framing;

public class MessageHeaderTests
{
    [Fact]
    public void AnyHeader_EncodedAndDecoded_IsTheSame() => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(1000),
        Prop.ForAll(Headers(), header =>
        {
            byte[] wire = new byte[MessageHeader.Bytes];
            header.Encode(wire);
            return MessageHeader.TryDecode(wire, out MessageHeader back, out string? defect) && defect is null && back == header;
        }));

    [Fact]
    public void AnyHeader_Truncated_IsRefused() => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(100),
        Prop.ForAll(Headers(), header =>
        {
            byte[] wire = new byte[MessageHeader.Bytes];
            header.Encode(wire);
            return Enumerable.Range(0, MessageHeader.Bytes).All(length => !MessageHeader.TryDecode(wire.AsSpan(0, length), out _, out _));
        }));

    [Fact]
    public void AnyHeader_FixedByteFlipped_IsRefused() => Check.One(
        Config.QuickThrowOnFailure.WithMaxTest(100),
        Prop.ForAll(Headers(), header =>
        {
            int[] fixedBytes = [0, 1, 2, 3, 4, 6, 7, .. Enumerable.Range(44, 4), .. Enumerable.Range(96, 16)];
            return fixedBytes.All(at =>
            {
                byte[] wire = new byte[MessageHeader.Bytes];
                header.Encode(wire);
                wire[at] ^= 0x41;
                return !MessageHeader.TryDecode(wire, out _, out string? defect) && defect is not null;
            });
        }));

    // Written by hand from the layout in the file header, not by Encode.
    [Fact]
    public void KnownHeader_Encoded_HasTheDocumentedLayout()
    {
        var header = new MessageHeader
        {
            Run = 0x0102,
            Epoch = 3,
            Step = 4,
            Microbatch = 5,
            Part = 6,
            Stage = 7,
            Attempt = 8,
            Kind = MessageKind.Code,
            PayloadBytes = 9,
            Tag = 10,
            Digest = new Digest([.. Enumerable.Range(1, 32).Select(i => (byte)i)]),
        };
        byte[] wire = new byte[MessageHeader.Bytes];
        header.Encode(wire);
        string expected = "4f524d31" + "02" + "02" + "7000" + "0201" + new string('0', 28) + "03000000" + "04000000" + "05000000" + "06000000"
            + "0700" + "0800" + "00000000" + "0900000000000000" + "0a00000000000000"
            + string.Concat(Enumerable.Range(1, 32).Select(i => i.ToString("x2"))) + new string('0', 32);
        Assert.Equal(expected, Convert.ToHexStringLower(wire));
    }

    static Arbitrary<MessageHeader> Headers()
    {
        Gen<ulong> word = ArbMap.Default.GeneratorFor<ulong>();
        return (from a in word
                from b in word
                from c in word
                from d in word
                from kind in Gen.Choose(1, 6)
                from digest in Gen.ArrayOf(ArbMap.Default.GeneratorFor<byte>(), 32)
                select new MessageHeader
                {
                    Run = new UInt128(a, b),
                    Epoch = (uint)a,
                    Step = (uint)(b >> 7),
                    Microbatch = (uint)c,
                    Part = (uint)(d >> 32),
                    Stage = (ushort)d,
                    Attempt = (ushort)(c >> 40),
                    Kind = (MessageKind)kind,
                    PayloadBytes = c,
                    Tag = d,
                    Digest = new Digest(digest),
                }).ToArbitrary();
    }
}
