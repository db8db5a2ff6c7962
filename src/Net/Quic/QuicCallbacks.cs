// The two tables of functions that ngtcp2 calls, one per side. TLS and packet protection go straight to the GnuTLS glue; what
// is ours finds its QuicConnection through the GC handle in user_data and hands the event over.
// An exception must not cross native frames: it becomes the connection's failure and ngtcp2 sees CALLBACK_FAILURE.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using static OrionNative.Net.Quic.Interop.Ngtcp2;
using static OrionNative.Net.Quic.Interop.Ngtcp2Crypto;

namespace OrionNative.Net.Quic;

static unsafe class QuicCallbacks
{
    public static readonly ngtcp2_callbacks* Client = Build(server: false);
    public static readonly ngtcp2_callbacks* Server = Build(server: true);

    public static readonly delegate* unmanaged[Cdecl]<ngtcp2_crypto_conn_ref*, nint> GetConnection = &OnGetConnection;

    static ngtcp2_callbacks* Build(bool server)
    {
        var table = (ngtcp2_callbacks*)NativeMemory.AllocZeroed((nuint)sizeof(ngtcp2_callbacks));
        if (server) table->recv_client_initial = QuicLibrary.CryptoFunction("ngtcp2_crypto_recv_client_initial_cb");
        else
        {
            table->client_initial = QuicLibrary.CryptoFunction("ngtcp2_crypto_client_initial_cb");
            table->recv_retry = QuicLibrary.CryptoFunction("ngtcp2_crypto_recv_retry_cb");
        }
        table->recv_crypto_data = QuicLibrary.CryptoFunction("ngtcp2_crypto_recv_crypto_data_cb");
        table->encrypt = QuicLibrary.CryptoFunction("ngtcp2_crypto_encrypt_cb");
        table->decrypt = QuicLibrary.CryptoFunction("ngtcp2_crypto_decrypt_cb");
        table->hp_mask = QuicLibrary.CryptoFunction("ngtcp2_crypto_hp_mask_cb");
        table->update_key = QuicLibrary.CryptoFunction("ngtcp2_crypto_update_key_cb");
        table->delete_crypto_aead_ctx = QuicLibrary.CryptoFunction("ngtcp2_crypto_delete_crypto_aead_ctx_cb");
        table->delete_crypto_cipher_ctx = QuicLibrary.CryptoFunction("ngtcp2_crypto_delete_crypto_cipher_ctx_cb");
        table->get_path_challenge_data = QuicLibrary.CryptoFunction("ngtcp2_crypto_get_path_challenge_data_cb");
        table->version_negotiation = QuicLibrary.CryptoFunction("ngtcp2_crypto_version_negotiation_cb");
        table->handshake_completed = &OnHandshakeCompleted;
        table->recv_stream_data = &OnReceive;
        table->acked_stream_data_offset = &OnAcknowledged;
        table->stream_close = &OnStreamClose;
        table->recv_stateless_reset = &OnStatelessReset;
        table->recv_tx_key = &OnSendKey;
        table->rand = &OnRandom;
        table->get_new_connection_id = &OnNewConnectionId;
        table->remove_connection_id = &OnRemoveConnectionId;
        return table;
    }

    static QuicConnection Of(void* user) => Unsafe.As<QuicConnection>(GCHandle.FromIntPtr((nint)user).Target!);

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static nint OnGetConnection(ngtcp2_crypto_conn_ref* reference) => Of(reference->user_data).Native;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnHandshakeCompleted(nint conn, void* user)
    {
        var connection = Of(user);
        try
        {
            return connection.HandleHandshakeCompleted() ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
        }
        catch (Exception e)
        {
            return connection.HandleException(e);
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnSendKey(nint conn, int level, void* user) =>
        level != NGTCP2_ENCRYPTION_LEVEL_1RTT || Of(user).HandleSendKey() ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnReceive(nint conn, uint flags, long stream, ulong offset, byte* data, nuint bytes, void* user, void* streamUser)
    {
        var connection = Of(user);
        try
        {
            return connection.HandleReceive(flags, stream, data, bytes) ? 0 : NGTCP2_ERR_CALLBACK_FAILURE;
        }
        catch (Exception e)
        {
            return connection.HandleException(e);
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnAcknowledged(nint conn, long stream, ulong offset, ulong bytes, void* user, void* streamUser)
    {
        var connection = Of(user);
        try
        {
            connection.HandleAcknowledged(stream, bytes);
            return 0;
        }
        catch (Exception e)
        {
            return connection.HandleException(e);
        }
    }

    // Lanes live as long as their connection: a peer that ends one breaks the rules.
    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnStreamClose(nint conn, uint flags, long stream, ulong code, void* user, void* streamUser)
    {
        Of(user).HandleStreamEnded(stream);
        return NGTCP2_ERR_CALLBACK_FAILURE;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnStatelessReset(nint conn, void* reset, void* user)
    {
        Of(user).HandleStatelessReset();
        return 0;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static void OnRandom(byte* data, nuint bytes, void* context) => RandomNumberGenerator.Fill(new Span<byte>(data, (int)bytes));

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnNewConnectionId(nint conn, ngtcp2_cid* id, byte* token, nuint bytes, void* user)
    {
        var connection = Of(user);
        try
        {
            connection.HandleNewConnectionId(id, token);
            return 0;
        }
        catch (Exception e)
        {
            return connection.HandleException(e);
        }
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    static int OnRemoveConnectionId(nint conn, ngtcp2_cid* id, void* user)
    {
        Of(user).HandleRemoveConnectionId(id);
        return 0;
    }
}
