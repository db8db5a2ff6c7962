// What arrives for no known connection: first datagrams of handshakes, versions we do not speak, packets of connections that
// this node forgot, garbage. Whatever is answered here costs no memory per sender, is smaller than what came (or has the size
// of a Retry) and is limited in rate, so that the door can be neither filled nor used against others.
//   few handshakes in progress: accept.  More: prove your address (Retry).  HalfOpenMax: silence.
// Tokens hold for a few seconds, for one address; keys are new with every start.
using System.Security.Cryptography;
using OrionNative.Net.Framing;
using OrionNative.Net.Quic.Interop;
using static OrionNative.Net.Quic.Interop.Ngtcp2;

namespace OrionNative.Net.Quic;

sealed unsafe class Door(QuicEndpoint endpoint)
{
    const int AnswersPerSecond = 2000;
    const ulong Second = 1_000_000_000;
    const ulong TokenLifetime = 10 * Second;
    const byte RetryTokenMagic = 0xb7;

    // A reset must look like a short packet and be shorter than what it answers (RFC 9000, 10.3).
    const int ResetBytes = 42, ResetTriggerBytesMin = ResetBytes + 1;
    const int AnswerBytesMax = 256;

    readonly byte[] _tokenSecret = RandomNumberGenerator.GetBytes(32);
    ulong _answersFrom;
    int _answers;
    bool _isRetrying;

    public QuicConnection? FindLong(byte* data, int bytes)
    {
        ngtcp2_version_cid id;
        int status = ngtcp2_pkt_decode_version_cid(&id, data, (nuint)bytes, ConnectionIds.Bytes);
        return status == 0 ? endpoint.Ids.Find(id.dcid, id.dcidlen) : null;
    }

    /// <summary>A new connection if the datagram starts one; null if it was answered or dropped.</summary>
    public QuicConnection? Knock(byte* data, int bytes)
    {
        if ((*data & 0x80) == 0)
        {
            bool mayAnswer = MayAnswer();
            if (mayAnswer && IsResetOfOurs(data, bytes)) return null;
            endpoint.NoteStranger(StrangerDeed.LeadsNowhere);
            if (mayAnswer) Reset(data, bytes);
            return null;
        }
        ngtcp2_version_cid version;
        int status = ngtcp2_pkt_decode_version_cid(&version, data, (nuint)bytes, ConnectionIds.Bytes);
        if (status == NGTCP2_ERR_VERSION_NEGOTIATION) NegotiateVersion(&version, bytes);
        ngtcp2_pkt_hd header;
        if (status == 0 && endpoint.Options.Admit is not null && ngtcp2_accept(&header, data, (nuint)bytes) == 0 && header.dcid.datalen >= ConnectionIds.Bytes) return Admit(&header);
        endpoint.NoteStranger(StrangerDeed.LeadsNowhere);
        return null;
    }

    QuicConnection? Admit(ngtcp2_pkt_hd* header)
    {
        var options = endpoint.Options;
        int halfOpen = 0, ofSource = 0;
        UInt128 source = endpoint.Socket.Peer.Source;
        foreach (var connection in endpoint.Connections)
        {
            if (connection.IsDialler || !connection.IsHandshaking) continue;
            halfOpen++;
            if (connection.Source == source) ofSource++;
        }
        bool proved = header->tokenlen > 0 && *header->token == RetryTokenMagic;
        ngtcp2_cid original = header->dcid;
        if (proved && !Verify(header, &original))
        {
            endpoint.NoteStranger(StrangerDeed.LeadsNowhere);
            RefuseToken(header);
            return null;
        }
        NoteLoad(halfOpen >= options.RetryAboveHalfOpen, halfOpen);
        if (!proved && halfOpen >= options.RetryAboveHalfOpen)
        {
            endpoint.NoteStranger(StrangerDeed.Unproved);
            Retry(header);
            return null;
        }
        bool full = halfOpen >= options.HalfOpenMax || endpoint.ConnectionCount >= options.ConnectionsMax;
        if (!full && !(proved && ofSource >= options.HalfOpenPerSourceMax)) return Accept(header, &original, proved);
        endpoint.NoteStranger(StrangerDeed.TurnedAway);
        return null;
    }

    void NoteLoad(bool retrying, int halfOpen)
    {
        if (retrying == _isRetrying) return;
        _isRetrying = retrying;
        endpoint.Log(retrying
            ? $"quic {endpoint.LocalAddress}: {halfOpen} handshakes in progress; diallers must prove their address (Retry) from now on"
            : $"quic {endpoint.LocalAddress}: {halfOpen} handshakes in progress; Retry is not asked for any more");
    }

    QuicConnection? Accept(ngtcp2_pkt_hd* header, ngtcp2_cid* original, bool proved)
    {
        ngtcp2_settings settings;
        ngtcp2_transport_params parameters;
        endpoint.Prepare(&settings, &parameters);
        parameters.original_dcid = *original;
        parameters.original_dcid_present = 1;
        if (proved)
        {
            parameters.retry_scid = header->dcid;
            parameters.retry_scid_present = 1;
            settings.token = header->token;
            settings.tokenlen = header->tokenlen;
            settings.token_type = NGTCP2_TOKEN_TYPE_RETRY;
        }
        ngtcp2_cid id;
        endpoint.Ids.Choose(&id);
        endpoint.Ids.ResetToken(&id, parameters.stateless_reset_token);
        parameters.stateless_reset_token_present = 1;
        var connection = new QuicConnection(endpoint, isDialler: false, endpoint.Socket.Peer, default, user: null);
        nint native;
        int status;
        fixed (SocketAddress* remote = &endpoint.Socket.Peer)
        {
            var local = endpoint.Socket.Address;
            var path = new ngtcp2_path { local = new() { addr = local.Data, addrlen = local.Length }, remote = new() { addr = remote->Data, addrlen = remote->Length } };
            status = ngtcp2_conn_server_new_versioned(
                &native, &header->scid, &id, &path, header->version, 1, QuicCallbacks.Server, 2, &settings, 1, &parameters, null, connection.UserData);
        }
        if (status != 0)
        {
            connection.Finish(new CloseReason(CloseKind.Failed, $"ngtcp2 could not accept: {Describe(status)}"));
            return null;
        }
        endpoint.Adopt(connection, native, &id, endpoint.Socket.Peer);
        endpoint.Ids.AddForeign(&header->dcid, connection);
        return connection;
    }

    bool Verify(ngtcp2_pkt_hd* header, ngtcp2_cid* original)
    {
        fixed (byte* secret = _tokenSecret)
        fixed (SocketAddress* peer = &endpoint.Socket.Peer)
        {
            return Ngtcp2Crypto.ngtcp2_crypto_verify_retry_token2(
                original, header->token, header->tokenlen, secret, (nuint)_tokenSecret.Length, header->version,
                peer->Data, peer->Length, &header->dcid, TokenLifetime, endpoint.Now) == 0;
        }
    }

    void Retry(ngtcp2_pkt_hd* header)
    {
        if (!MayAnswer()) return;
        byte* token = stackalloc byte[Ngtcp2Crypto.RetryTokenBytesMax];
        byte* answer = stackalloc byte[AnswerBytesMax];
        ngtcp2_cid id;
        endpoint.Ids.Choose(&id);
        nint tokenBytes;
        fixed (byte* secret = _tokenSecret)
        fixed (SocketAddress* peer = &endpoint.Socket.Peer)
        {
            tokenBytes = Ngtcp2Crypto.ngtcp2_crypto_generate_retry_token2(
                token, secret, (nuint)_tokenSecret.Length, header->version, peer->Data, peer->Length, &id, &header->dcid, endpoint.Now);
        }
        if (tokenBytes < 0) return;
        Answer(answer, Ngtcp2Crypto.ngtcp2_crypto_write_retry(
            answer, AnswerBytesMax, header->version, &header->scid, &id, &header->dcid, token, (nuint)tokenBytes));
    }

    void RefuseToken(ngtcp2_pkt_hd* header)
    {
        if (!MayAnswer()) return;
        byte* answer = stackalloc byte[AnswerBytesMax];
        Answer(answer, Ngtcp2Crypto.ngtcp2_crypto_write_connection_close(
            answer, AnswerBytesMax, header->version, &header->scid, &header->dcid, NGTCP2_INVALID_TOKEN, null, 0));
    }

    void NegotiateVersion(ngtcp2_version_cid* id, int bytes)
    {
        if (bytes < NGTCP2_MAX_UDP_PAYLOAD_SIZE || !MayAnswer()) return;
        byte* answer = stackalloc byte[AnswerBytesMax * 3];
        uint version = NGTCP2_PROTO_VER_V1;
        Answer(answer, ngtcp2_pkt_write_version_negotiation(
            answer, AnswerBytesMax * 3, (byte)RandomNumberGenerator.GetInt32(256), id->scid, id->scidlen, id->dcid, id->dcidlen, &version, 1));
    }

    // A peer that forgot a connection answers with a random id and the token of the connection at the end. ngtcp2 knows the
    // tokens; what it does not recognise it drops. The search costs, so it is part of what MayAnswer limits.
    bool IsResetOfOurs(byte* data, int bytes)
    {
        for (int i = endpoint.Connections.Count - 1; i >= 0; i--)
        {
            var connection = endpoint.Connections[i];
            if (connection.IsAt(endpoint.Socket.Peer) && !endpoint.Deliver(connection, data, bytes)) return true;
        }
        return false;
    }

    void Reset(byte* data, int bytes)
    {
        if (bytes < ResetTriggerBytesMin) return;
        ngtcp2_cid id;
        id.datalen = ConnectionIds.Bytes;
        new ReadOnlySpan<byte>(data + 1, ConnectionIds.Bytes).CopyTo(new Span<byte>(id.data, ConnectionIds.Bytes));
        byte* token = stackalloc byte[NGTCP2_STATELESS_RESET_TOKENLEN];
        endpoint.Ids.ResetToken(&id, token);
        const int RandomBytes = ResetBytes - NGTCP2_STATELESS_RESET_TOKENLEN;
        byte* random = stackalloc byte[RandomBytes];
        RandomNumberGenerator.Fill(new Span<byte>(random, RandomBytes));
        byte* answer = stackalloc byte[AnswerBytesMax];
        Answer(answer, ngtcp2_pkt_write_stateless_reset(answer, AnswerBytesMax, token, random, RandomBytes));
    }

    // A budget that is new every second. Answers are best effort: past it, silence.
    bool MayAnswer()
    {
        if (endpoint.Now - _answersFrom >= Second)
        {
            _answersFrom = endpoint.Now;
            _answers = 0;
        }
        return _answers++ < AnswersPerSecond;
    }

    void Answer(byte* data, nint bytes)
    {
        if (bytes > 0) endpoint.Socket.Send(data, (int)bytes, (int)bytes, endpoint.Socket.Peer);
    }
}
