package verdict.bench;

import ai.onnxruntime.OnnxTensor;
import ai.onnxruntime.OrtEnvironment;
import ai.onnxruntime.OrtException;
import ai.onnxruntime.OrtSession;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.Map;
import java.util.Set;

/** The model in one thread that does not spin; its input is one buffer, filled again and again. */
final class Model implements AutoCloseable {
    private static final Set<String> OUTPUTS = Set.of("probabilities");

    private final FloatBuffer buffer;
    private final OrtSession session;
    private final OnnxTensor tensor;
    private final Map<String, OnnxTensor> inputs;

    Model(int features) throws OrtException, IOException {
        OrtEnvironment environment = OrtEnvironment.getEnvironment();
        environment.setTelemetry(false);
        try (OrtSession.SessionOptions options = new OrtSession.SessionOptions();
                InputStream file = Model.class.getResourceAsStream("/model.onnx")) {
            options.setIntraOpNumThreads(1);
            options.setInterOpNumThreads(1);
            options.setExecutionMode(OrtSession.SessionOptions.ExecutionMode.SEQUENTIAL);
            options.addConfigEntry("session.intra_op.allow_spinning", "0");
            options.addConfigEntry("session.inter_op.allow_spinning", "0");
            session = environment.createSession(file.readAllBytes(), options);
        }
        buffer =
                ByteBuffer.allocateDirect(features * Float.BYTES)
                        .order(ByteOrder.nativeOrder())
                        .asFloatBuffer();
        tensor = OnnxTensor.createTensor(environment, buffer, new long[] {1, features});
        inputs = Map.of("features", tensor);
    }

    /** The probability of fraud. */
    double score(double[] row) throws OrtException {
        for (int i = 0; i < row.length; i++) {
            buffer.put(i, (float) row[i]);
        }
        try (OrtSession.Result found = session.run(inputs, OUTPUTS)) {
            return ((OnnxTensor) found.get(0)).getFloatBuffer().get(1);
        }
    }

    @Override
    public void close() throws OrtException {
        tensor.close();
        session.close();
    }
}
