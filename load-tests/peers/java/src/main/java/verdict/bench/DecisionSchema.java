package verdict.bench;

import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.formats.avro.AvroSerializationSchema;

/** The decision of a customer and a decision, as Avro without a schema in front. */
final class DecisionSchema implements SerializationSchema<Tuple2<String, Decision>> {
    private static final long serialVersionUID = 1;

    private final AvroSerializationSchema<Decision> schema =
            AvroSerializationSchema.forSpecific(Decision.class);

    @Override
    public byte[] serialize(Tuple2<String, Decision> decided) {
        return schema.serialize(decided.f1);
    }
}
