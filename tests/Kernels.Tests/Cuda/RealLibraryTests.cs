// NVIDIA's own libraries as far as they go without a card: the driver's reasons not to start, which library fits which driver, and the
// descriptors of cuBLASLt, which live on the host and refuse a wrong attribute or size. cublasLtCreate needs a card and ends with
// CUBLAS_STATUS_NOT_INITIALIZED without one; the heuristic crashes without a handle, so it is not called here.
using OrionNative.Kernels.Cuda;
using OrionNative.Kernels.Cuda.Interop;

namespace OrionNative.Kernels.Tests.Cuda;

public unsafe class RealLibraryTests
{
    const int InvalidValue = 7;

    [Theory]
    [InlineData(CudaDriver.StatusNoDevice, "nvidia-smi")]
    [InlineData(CudaDriver.StatusStubLibrary, "stubs")]
    [InlineData(CudaDriver.StatusSystemNotReady, "fabricmanager")]
    [InlineData(CudaDriver.StatusDriverMismatch, "restart")]
    [InlineData(CudaDriver.StatusCompatNotSupported, "cuda-compat")]
    [InlineData(CudaDriver.StatusDeviceUnavailable, "compute mode")]
    [InlineData(999, "dmesg")]
    public void Driver_DoesNotStart_SaysHowToMendIt(int status, string fix) =>
        Assert.Contains(fix, CudaLibraries.FixOf(status), StringComparison.Ordinal);

    [Fact]
    public void Libraries_NewerThanTheDriver_AreNotTried()
    {
        Assert.Equal(["libnvrtc.so.12", "libnvrtc.so.11.2"], LibrarySearch.UpTo(12, LibrarySearch.NvrtcNames));
        Assert.Equal(LibrarySearch.CublasLtNames, LibrarySearch.UpTo(13, LibrarySearch.CublasLtNames));
        Assert.Equal(LibrarySearch.CublasLtNames, LibrarySearch.UpTo(null, LibrarySearch.CublasLtNames));
    }

    // Layouts of the wheels of CUDA 12 (a folder a library) and CUDA 13 (one folder), and of a toolkit.
    [Theory]
    [InlineData("VIRTUAL_ENV", "lib/python3.12/site-packages/nvidia/cu13/lib/libnvrtc.so.13")]
    [InlineData("VIRTUAL_ENV", "lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")]
    [InlineData("VIRTUAL_ENV", "lib/python3.12/dist-packages/nvidia/cuda_nvrtc/lib/libnvrtc.so.12")]
    [InlineData("CONDA_PREFIX", "lib/python3.12/site-packages/nvidia/cublas/lib/libcublasLt.so.12")]
    [InlineData("CONDA_PREFIX", "lib/python3.12/site-packages/nvidia/cu13/lib/libcublasLt.so.13")]
    [InlineData("CUDA_PATH", "lib64/libnvrtc.so.11.2")]
    [InlineData("CUDA_PATH", "lib64/libcublasLt.so.11")]
    [InlineData("CUDA_HOME", "lib/libnvrtc.so.13")]
    public void Library_WhereAVariablePoints_IsTriedBeforeTheLoadersOwn(string variable, string file)
    {
        string root = Directory.CreateTempSubdirectory("orion-wheels-").FullName, path = Path.Combine(root, file);
        string? before = Environment.GetEnvironmentVariable(variable);
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllText(path, "");
            Environment.SetEnvironmentVariable(variable, root);
            List<string> candidates = [.. LibrarySearch.Real(file.Contains("nvrtc", StringComparison.Ordinal) ? LibrarySearch.NvrtcNames : LibrarySearch.CublasLtNames)];
            Assert.InRange(candidates.IndexOf(path), 0, candidates.IndexOf(Path.GetFileName(path)) - 1);
        }
        finally
        {
            Environment.SetEnvironmentVariable(variable, before);
            Directory.Delete(root, recursive: true);
        }
    }

    [Fact]
    public void CublasLtDescriptors_WithTheBindingsAttributes_AreTakenAndWrongSizesRefused()
    {
        CublasLtLibrary library = Library();
        nint description, preference, layout;
        Assert.Equal(0, library.cublasLtMatmulDescCreate(&description, CublasLtLibrary.Compute32F, CublasLtLibrary.Real32F));
        int value = 1;
        foreach (int attribute in (int[])[CublasLtLibrary.DescriptionTransposeA, CublasLtLibrary.DescriptionTransposeB, CublasLtLibrary.DescriptionEpilogue])
        {
            Assert.Equal((attribute, 0), (attribute, library.cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(int))));
            Assert.Equal((attribute, InvalidValue), (attribute, library.cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(int) / 2)));
        }

        value = CublasLtLibrary.EpilogueRelu;
        Assert.Equal(0, library.cublasLtMatmulDescSetAttribute(description, CublasLtLibrary.DescriptionEpilogue, &value, sizeof(int)));
        Assert.Equal(0, library.cublasLtMatmulPreferenceCreate(&preference));
        ulong bytes = CublasLt.WorkspaceBytes;
        Assert.Equal(0, library.cublasLtMatmulPreferenceSetAttribute(preference, CublasLtLibrary.PreferenceWorkspaceBytes, &bytes, (nuint)sizeof(nuint)));
        Assert.Equal(InvalidValue, library.cublasLtMatmulPreferenceSetAttribute(preference, CublasLtLibrary.PreferenceWorkspaceBytes, &bytes, sizeof(int)));
        uint alignment = 16;
        for (int attribute = CublasLtLibrary.PreferenceAlignmentA; attribute <= CublasLtLibrary.PreferenceAlignmentD; attribute++)
        {
            Assert.Equal((attribute, 0), (attribute, library.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof(uint))));
            Assert.Equal((attribute, InvalidValue), (attribute, library.cublasLtMatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof(ulong))));
        }

        foreach (int type in (int[])[CublasLtLibrary.Real16BF, CublasLtLibrary.Real32F])
        {
            Assert.Equal(0, library.cublasLtMatrixLayoutCreate(&layout, type, 64, 128, 72));
            Assert.Equal(0, library.cublasLtMatrixLayoutDestroy(layout));
        }

        Assert.Equal(0, library.cublasLtMatmulPreferenceDestroy(preference));
        Assert.Equal(0, library.cublasLtMatmulDescDestroy(description));
    }

    [Fact]
    public void CublasLt_WithoutACard_SaysSoByName()
    {
        CublasLtLibrary library = Library();
        if (CudaLibraries.Real.NotSupportedReason is null)
        {
            Assert.Skip("this machine has a card");
        }

        nint handle;
        int status = library.cublasLtCreate(&handle);
        Assert.Equal("CUBLAS_STATUS_NOT_INITIALIZED", library.NameOf(status));
    }

    static CublasLtLibrary Library()
    {
        try
        {
            return CudaLibraries.Real.CublasLt;
        }
        catch (PlatformNotSupportedException error)
        {
            Assert.Skip($"{error.Message}; without a card Debian's libcublaslt11 (non-free), unpacked with dpkg -x and named by LD_LIBRARY_PATH, is enough");
            throw;
        }
    }
}
