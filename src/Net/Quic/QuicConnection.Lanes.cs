// What a connection carries: four lanes out, four lanes in, each a one-way stream of its own (client 2, 6, 10, 14; server 3,
// 7, 11, 15). A packet is filled from the first lane that has bytes, then from the next, so a control message waits for what
// the kernel already holds and no longer. Bytes are read in place: ngtcp2 keeps their address until they are acknowledged
// and reads them again for a retransmission. Bytes in go to the sink in order; only then does the window open again.
// A full queue on the way stops the data lanes (QueueShare), never the control lane.
// Invariant: nothing managed is allocated here.
using OrionNative.Net.Framing;
using static OrionNative.Net.Quic.Interop.Ngtcp2;

namespace OrionNative.Net.Quic;

sealed unsafe partial class QuicConnection
{
    public const int LaneCount = 4;

    const int DataLanes = (1 << LaneCount) - 1 - (1 << (int)Lane.Control);
    const ulong StatisticsEvery = 10_000_000;

    QueueShare _share;
    long _firstSendStream = -1;
    int _woken;
    ulong _statisticsAt;
    long _sentPackets, _sentBytes, _receivedPackets, _receivedBytes;
    long _publishedRtt, _publishedRttMin, _publishedWindow, _publishedInFlight, _publishedLost;

    public TransportStatistics Statistics => new(
        Volatile.Read(ref _publishedRtt), Volatile.Read(ref _publishedRttMin), Volatile.Read(ref _publishedWindow),
        Volatile.Read(ref _publishedInFlight), Volatile.Read(ref _publishedLost), Volatile.Read(ref _sentPackets),
        Volatile.Read(ref _sentBytes), Volatile.Read(ref _receivedPackets), Volatile.Read(ref _receivedBytes));

    // Streams get their numbers in the order in which they are opened, so lane n is stream first + 4 n on both sides.
    void OpenLanes()
    {
        for (int lane = 0; lane < LaneCount; lane++)
        {
            long stream;
            int status = ngtcp2_conn_open_uni_stream(Native, &stream, null);
            if (status != 0) throw new InvalidDataException($"the peer does not allow {LaneCount} lanes: {Describe(status)}");
            if (lane == 0) _firstSendStream = stream;
        }
    }

    /// <summary>Takes the wake-up flag down; true if it was up.</summary>
    public bool TakeWake() => Volatile.Read(ref _woken) != 0 && Interlocked.Exchange(ref _woken, 0) != 0;

    /// <summary>Writes packets into the endpoint's batch until pacing, the window, the quantum or the lanes are exhausted.
    /// Returns null, or why the connection must end.</summary>
    public CloseReason? Send(SendBatch batch, ulong now)
    {
        IsDirty = false;
        long budget = (long)Math.Max(ngtcp2_conn_get_send_quantum(Native), NGTCP2_MAX_UDP_PAYLOAD_SIZE);
        int blocked = HasShare(now) ? 0 : DataLanes;
        ngtcp2_pkt_info info;
        while (budget > 0)
        {
            int lane = NextLane(blocked, out ngtcp2_vec data);
            nint taken = -1;
            nint written = ngtcp2_conn_writev_stream_versioned(
                Native, batch.Path, 1, &info, batch.Tail, SendBatch.PacketBytesMax, &taken,
                lane < 0 ? 0 : NGTCP2_WRITE_STREAM_FLAG_MORE, lane < 0 ? -1 : _firstSendStream + 4 * lane, &data, lane < 0 ? 0u : 1u, now);
            if (taken > 0) _user!.Advance((Lane)lane, (nuint)taken);
            if (written == NGTCP2_ERR_WRITE_MORE) continue;
            if (written == NGTCP2_ERR_STREAM_DATA_BLOCKED)
            {
                blocked |= 1 << lane;
                continue;
            }
            if (written < 0) return Explain((int)written);
            if (written == 0) break;
            _sentPackets++;
            _sentBytes += written;
            budget -= written;
            batch.Add((int)written);
            if (batch.IsStuck) break;
        }
        batch.Flush();
        if (!_isOpen) _sendError = _endpoint.Socket.SendError;
        ngtcp2_conn_update_pkt_tx_time(Native, now);
        UpdateExpiry();
        if (now >= _statisticsAt)
        {
            _statisticsAt = now + StatisticsEvery;
            PublishStatistics();
        }
        return null;
    }

    // CUBIC shares by itself.
    bool HasShare(ulong now)
    {
        if (!_isOpen || _endpoint.Options.CongestionControl != CongestionControl.Bbr) return true;
        ngtcp2_conn_info info;
        ngtcp2_conn_get_conn_info_versioned(Native, 1, &info);
        _share.Note(now, info.latest_rtt, info.bytes_in_flight, info.cwnd, (ulong)(_sentBytes - (LostPackets() * _sentBytes / Math.Max(1, _sentPackets))));
        return info.bytes_in_flight < _share.CeilingBytes;
    }

    // The first lane with bytes that flow control lets go; -1 if there is none. ngtcp2 then still writes acknowledgements,
    // retransmissions and whatever it has of its own.
    int NextLane(int blocked, out ngtcp2_vec data)
    {
        data = default;
        if (!_isOpen) return -1;
        for (int lane = 0; lane < LaneCount; lane++)
        {
            if ((blocked >> lane & 1) != 0) continue;
            data.len = _user!.Peek((Lane)lane, out data.@base);
            if (data.len > 0) return lane;
        }
        return -1;
    }

    public bool HandleReceive(uint flags, long stream, byte* data, nuint bytes)
    {
        int lane = (int)(stream >> 2);
        if ((flags & NGTCP2_STREAM_DATA_FLAG_FIN) != 0 || lane >= LaneCount)
        {
            HandleStreamEnded(stream);
            return false;
        }
        _user!.Receive((Lane)lane, data, bytes);
        _ = ngtcp2_conn_extend_max_stream_offset(Native, stream, bytes);
        ngtcp2_conn_extend_max_offset(Native, bytes);
        return true;
    }

    public void HandleAcknowledged(long stream, ulong bytes) => _user!.Acknowledged((Lane)(stream >> 2), (nuint)bytes);

    // Lanes live as long as their connection.
    public void HandleStreamEnded(long stream) => Fail(CloseKind.Protocol, CodeProtocol, $"the peer ended lane {(Lane)(stream >> 2)}, which only a close may do");

    void PublishStatistics()
    {
        if (Native == 0) return;
        ngtcp2_conn_info info;
        ngtcp2_conn_get_conn_info_versioned(Native, 1, &info);
        // Before the first sample ngtcp2 reports its initial guess; min_rtt tells the two apart.
        bool measured = info.min_rtt != ulong.MaxValue;
        Volatile.Write(ref _publishedRtt, measured ? (long)info.smoothed_rtt : 0);
        Volatile.Write(ref _publishedRttMin, measured ? (long)info.min_rtt : 0);
        Volatile.Write(ref _publishedWindow, (long)Math.Min(info.cwnd, _share.CeilingBytes));
        Volatile.Write(ref _publishedInFlight, (long)info.bytes_in_flight);
        Volatile.Write(ref _publishedLost, LostPackets());
    }

    long LostPackets()
    {
        nuint lost = 0;
        for (int lane = 0; lane < LaneCount && _firstSendStream >= 0; lane++) lost += ngtcp2_conn_get_stream_loss_count(Native, _firstSendStream + 4 * lane);
        return (long)lost;
    }
}
