// link emulate: a relay between two programs that behaves like a bad link. What it does can be changed while it runs by typing
// the same words as the options: `loss 1%`, `down delay 80ms`, `blackhole up`, `profile lossy`, `port` (a new source port), `quit`.
using System.CommandLine;
using System.Net;
using System.Text.Json.Nodes;
using OrionNative.Engine.Run;
using OrionNative.Net.Links;

namespace OrionNative.Engine.Cli.Link;

static class LinkEmulateCommand
{
    public static Command Create()
    {
        ExampleCommand command = new("emulate", "Relay between two programs with rate, delay, jitter, loss, reordering, duplication, blackholes.",
            "link emulate --profile orion --listen 127.0.0.1:5000 --target 127.0.0.1:4433",
            "link emulate --listen 127.0.0.1:5000 --target 127.0.0.1:4433 --set \"rate 100mbit\" --set \"delay 30ms\" --set \"up loss 1%\"",
            "link emulate --transport tcp --profile home --listen 127.0.0.1:5000 --target 127.0.0.1:4433");
        Option<string> listen = new("--listen") { Description = "where to dial instead of the target", DefaultValueFactory = _ => "127.0.0.1:0" };
        Option<string> target = new("--target") { Description = "where the link leads", Required = true };
        Option<string> profile = new("--profile") { Description = string.Join("; ", LinkProfile.Named.Select(p => $"{p.Key}: {p.Value.Description}")), DefaultValueFactory = _ => "orion" };
        profile.AcceptOnlyFromAmong([.. LinkProfile.Named.Keys]);
        Option<string[]> set = new("--set") { Description = "a change to the profile, in the words of the console; may be given several times" };
        Option<string> transport = LinkCommand.TransportOption("quic", "quic", "tcp");
        Option<int> seed = new("--seed") { Description = "decides every random choice", DefaultValueFactory = _ => 1 };
        Option<double> seconds = new Option<double>("--seconds") { Description = "end after so long; 0 runs until interrupted or told to quit" }.Between(0, 1e7);
        Option<bool> json = CommandOutput.JsonOption();
        foreach (Option option in new Option[] { listen, target, profile, set, transport, seed, seconds, json }) command.Add(option);
        command.SetAction(async (parsed, cancellation) =>
        {
            await Task.Yield(); // Ctrl-C before the first wait would end the process without a word
            CommandOutput output = new(parsed.GetValue(json));
            LinkProfile conditions = LinkProfile.Named[parsed.GetValue(profile)!].Profile;
            foreach (string change in parsed.GetValue(set) ?? []) conditions = LinkWords.Apply(conditions, change);
            IPEndPoint from = LinkCommand.Address("--listen", parsed.GetValue(listen)!), to = LinkCommand.Address("--target", parsed.GetValue(target)!);
            using UdpRelay? udp = parsed.GetValue(transport) == "quic" ? new UdpRelay(Console.Error.WriteLine) : null;
            using TcpRelay? tcp = udp is null ? Tcp(from, to, conditions, parsed.GetValue(seed)) : null;
            EmulatedLink link = udp?.Add(from, to, conditions, parsed.GetValue(seed)) ?? tcp!;
            output.Text.WriteLine($"{parsed.GetValue(transport)} {link.Address} -> {to}   seed {parsed.GetValue(seed)}");
            Describe(link, output.Text);
            if (!Console.IsInputRedirected) output.Text.WriteLine("type a change, e.g. `loss 1%`, `down delay 80ms`, `blackhole up`, `profile lossy`; `port` changes the source port, `quit` ends");
            using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellation);
            if (parsed.GetValue(seconds) is > 0 and double limit) end.CancelAfter(TimeSpan.FromSeconds(limit));
            Task listening = Task.Run(() => Listen(link, output.Text, end), CancellationToken.None);
            await ReportAsync(link, output.Text, end.Token);
            output.Result(new JsonObject
            {
                ["transport"] = parsed.GetValue(transport),
                ["listen"] = link.Address.ToString(),
                ["target"] = to.ToString(),
                ["seed"] = parsed.GetValue(seed),
                ["up"] = Json(link.Up, link.Profile.Up),
                ["down"] = Json(link.Down, link.Profile.Down),
            });
            return cancellation.IsCancellationRequested ? ExitStatus.Interrupted : ExitStatus.Done;
        });
        return command;
    }

    static TcpRelay Tcp(IPEndPoint from, IPEndPoint to, LinkProfile conditions, int seed)
    {
        try
        {
            return new TcpRelay(from, to, conditions, seed);
        }
        catch (NotSupportedException error)
        {
            throw new ConfigurationException(error.Message);
        }
    }

    static void Listen(EmulatedLink link, TextWriter text, CancellationTokenSource end)
    {
        while (!end.IsCancellationRequested && Console.In.ReadLine() is { } line)
        {
            try
            {
                switch (line.Trim())
                {
                    case "": break;
                    case "quit": end.Cancel(); return;
                    case "port": link.ChangeSourcePort(); break;
                    default: link.Profile = LinkWords.Apply(link.Profile, line); break;
                }
                Describe(link, text);
            }
            catch (Exception error) when (error is ConfigurationException or NotSupportedException)
            {
                text.WriteLine(error.Message);
            }
        }
    }

    static void Describe(EmulatedLink link, TextWriter text) => text.WriteLine($"up: {link.Profile.Up}   down: {link.Profile.Down}");

    static async Task ReportAsync(EmulatedLink link, TextWriter text, CancellationToken cancellation)
    {
        long up = 0, down = 0;
        try
        {
            while (true)
            {
                await Task.Delay(1000, cancellation);
                if (link.Up.Bytes == up && link.Down.Bytes == down) continue;
                text.WriteLine($"up {(link.Up.Bytes - up) / 1e6,8:0.00} MB/s {Losses(link.Up)}   down {(link.Down.Bytes - down) / 1e6,8:0.00} MB/s {Losses(link.Down)}");
                (up, down) = (link.Up.Bytes, link.Down.Bytes);
            }
        }
        catch (OperationCanceledException)
        {
            // told to end
        }
    }

    static JsonObject Json(LinkTally tally, LinkConditions conditions) => new()
    {
        ["conditions"] = conditions.ToString(),
        ["packets"] = tally.Packets,
        ["bytes"] = tally.Bytes,
        ["lost"] = tally.Lost,
        ["queueDropped"] = tally.Overflowed,
        ["tooLong"] = tally.TooLong,
        ["late"] = tally.Late,
        ["doubled"] = tally.Doubled,
        ["blackholed"] = tally.Blackholed,
    };

    static string Losses(LinkTally tally) => $"(lost {tally.Lost}, queue {tally.Overflowed}, late {tally.Late}, twice {tally.Doubled}, hole {tally.Blackholed})";
}
