package verdict.bench;

import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.java.tuple.Tuple2;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;

/** From a payment to its decision: features of its customer's history, score, rules, thresholds. */
final class Decide extends KeyedProcessFunction<String, Payment, Tuple2<String, Decision>> {
    private static final long serialVersionUID = 1;
    private static final String MODEL_VERSION = "1";
    private static final double LARGE = 400;
    private static final double DECLINE = 0.8;
    private static final double REVIEW = 0.4;

    private transient ValueState<long[]> history;
    private transient Model model;

    @Override
    public void open(OpenContext context) throws Exception {
        history =
                getRuntimeContext()
                        .getState(
                                new ValueStateDescriptor<>(
                                        "history",
                                        PrimitiveArrayTypeInfo.LONG_PRIMITIVE_ARRAY_TYPE_INFO));
        model = new Model(Features.COUNT);
    }

    @Override
    public void processElement(
            Payment payment, Context context, Collector<Tuple2<String, Decision>> out)
            throws Exception {
        Features features = new Features(payment, history.value());
        history.update(features.history);
        double score = model.score(features.row);
        out.collect(Tuple2.of(context.getCurrentKey(), decision(payment, features.row, score)));
    }

    /** The other two rules of the pipeline have no action: they are noted, and change nothing. */
    private static String action(double amount, double score) {
        if (amount > LARGE) {
            return "review";
        }
        if (score >= DECLINE) {
            return "decline";
        }
        return score >= REVIEW ? "review" : "approve";
    }

    private static Decision decision(Payment payment, double[] row, double score) {
        return new Decision(
                payment.getId(),
                payment.getTime(),
                score,
                action(row[6], score),
                MODEL_VERSION,
                row[0],
                row[1],
                row[2],
                row[3],
                row[4],
                row[5],
                row[6],
                row[7],
                row[8],
                row[9],
                row[10],
                row[11],
                row[12],
                row[13],
                row[14]);
    }

    @Override
    public void close() throws Exception {
        if (model != null) {
            model.close();
        }
    }
}
