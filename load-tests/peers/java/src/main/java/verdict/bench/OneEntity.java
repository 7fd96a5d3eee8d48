package verdict.bench;

import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExecutionOptions;
import org.apache.flink.configuration.PipelineOptions;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.sink.TransactionNamingStrategy;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.formats.avro.AvroDeserializationSchema;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.util.ParameterTool;

/**
 * The work of {@code one-entity.yaml} written by hand for Flink's DataStream API.
 *
 * <p>{@code --bootstrap HOST:PORT --events TOPIC --decisions TOPIC --checkpoints FOLDER}, and {@code
 * --interval-ms} and {@code --delivery} as verdict's own job has them.
 */
public final class OneEntity {
    private OneEntity() {}

    /** Submit the job. */
    public static void main(String[] arguments) throws Exception {
        ParameterTool given = ParameterTool.fromArgs(arguments);
        String bootstrap = given.getRequired("bootstrap");
        StreamExecutionEnvironment environment =
                StreamExecutionEnvironment.getExecutionEnvironment(settings(given));
        environment.setParallelism(1);
        KafkaSource<Payment> source =
                KafkaSource.<Payment>builder()
                        .setBootstrapServers(bootstrap)
                        .setTopics(given.getRequired("events"))
                        .setGroupId(given.getRequired("decisions"))
                        .setProperty("isolation.level", "read_committed")
                        .setStartingOffsets(OffsetsInitializer.earliest())
                        .setValueOnlyDeserializer(AvroDeserializationSchema.forSpecific(Payment.class))
                        .build();
        DeliveryGuarantee delivery =
                given.get("delivery", "exactly-once").equals("exactly-once")
                        ? DeliveryGuarantee.EXACTLY_ONCE
                        : DeliveryGuarantee.AT_LEAST_ONCE;
        KafkaSink<Tuple2<String, Decision>> sink =
                KafkaSink.<Tuple2<String, Decision>>builder()
                        .setBootstrapServers(bootstrap)
                        .setProperty("acks", "all")
                        .setProperty("linger.ms", "1")
                        .setProperty("transaction.timeout.ms", "600000")
                        .setTransactionalIdPrefix(given.getRequired("decisions"))
                        .setTransactionNamingStrategy(TransactionNamingStrategy.POOLING)
                        .setDeliveryGuarantee(delivery)
                        .setRecordSerializer(
                                KafkaRecordSerializationSchema.<Tuple2<String, Decision>>builder()
                                        .setTopic(given.getRequired("decisions"))
                                        .setKeySerializationSchema(
                                                decided -> decided.f0.getBytes(StandardCharsets.UTF_8))
                                        .setValueSerializationSchema(new DecisionSchema())
                                        .build())
                        .build();
        environment
                .fromSource(source, WatermarkStrategy.noWatermarks(), "payments")
                .uid("payments")
                .keyBy(Payment::getCustomer)
                .process(new Decide())
                .uid("decide")
                .sinkTo(sink)
                .uid("decisions");
        environment.execute("one-entity");
    }

    /** What verdict sets for its own job, too. */
    private static Configuration settings(ParameterTool given) {
        Configuration found = new Configuration();
        found.set(PipelineOptions.OBJECT_REUSE, true);
        found.set(ExecutionOptions.BUFFER_TIMEOUT, Duration.ZERO);
        found.set(StateBackendOptions.STATE_BACKEND, "rocksdb");
        found.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
        found.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, given.getRequired("checkpoints"));
        found.set(
                CheckpointingOptions.CHECKPOINTING_INTERVAL,
                Duration.ofMillis(given.getLong("interval-ms", 10_000)));
        return found;
    }
}
