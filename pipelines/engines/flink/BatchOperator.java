package verdict;

import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import org.apache.flink.api.common.operators.MailboxExecutor;
import org.apache.flink.api.common.state.MapState;
import org.apache.flink.api.common.state.MapStateDescriptor;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.metrics.Counter;
import org.apache.flink.streaming.api.graph.StreamConfig;
import org.apache.flink.streaming.api.operators.BoundedOneInput;
import org.apache.flink.streaming.api.operators.OneInputStreamOperator;
import org.apache.flink.streaming.api.operators.Output;
import org.apache.flink.streaming.api.operators.python.embedded.AbstractEmbeddedPythonFunctionOperator;
import org.apache.flink.streaming.api.watermark.Watermark;
import org.apache.flink.streaming.runtime.streamrecord.StreamRecord;
import org.apache.flink.streaming.runtime.tasks.ProcessingTimeService;
import org.apache.flink.streaming.runtime.tasks.StreamTask;
import org.apache.flink.table.data.GenericMapData;
import org.apache.flink.table.data.GenericRowData;
import org.apache.flink.table.data.binary.BinaryStringData;
import org.apache.flink.types.Row;
import org.apache.flink.util.OutputTag;
import org.apache.flink.util.function.ThrowingRunnable;

/**
 * A hop: calls Python once for the records that are there, and lets none wait for one that is not.
 *
 * <p>What is buffered is worked off when the batch is full, when the task has no further record at
 * hand, before a checkpoint's barrier, before a watermark, and at the end of the input.
 *
 * <p>A record is a Row: its key as text (null for a hop without keys), the index of its input, key,
 * value, partition, offset, timestamp, and a value of each header to carry, or null. A later hop gets
 * the same from the one before. What goes to Kafka leaves by a side output for each topic, as the row
 * of its table: key, value, headers.
 *
 * <p>Compiled by Janino on the TaskManager, which knows no lambdas and no generics but as casts. It
 * lets a class pass that leaves out an abstract method, but heeds Override: it stands wherever it can.
 */
public final class BatchOperator extends AbstractEmbeddedPythonFunctionOperator
        implements OneInputStreamOperator, BoundedOneInput, ThrowingRunnable {

    private static final int TEXT_KEY = 0;
    private static final int SOURCE = 1;
    private static final int KEY = 2;
    private static final int VALUE = 3;
    private static final int PARTITION = 4;
    private static final int OFFSET = 5;
    private static final int TIMESTAMP = 6;
    private static final int HEADERS = 7;

    /** Of what Python is told of a record in numbers: source, partition, offset, timestamp. */
    private static final int NUMBERS = 4 + 4 + 8 + 8;

    /** Python that makes `hop` out of `operator`, `payload`, `subtask` and `parameters`. */
    private final String opening;

    private final byte[] payload;
    private final int size;
    private final int sizeBytes;
    private final ValueStateDescriptor headDescriptor;
    private final MapStateDescriptor chunkDescriptor;

    /** Of each output: where its records go; the first is the job's first output. */
    private final OutputTag[] outputs;

    /** Of each input: what its records' place begins with, the topic and a slash. */
    private final String[] places;

    private final BinaryStringData placeHeader;
    private final BinaryStringData[] carriedHeaders;
    private final int mostCarried;

    private transient Object python;
    private transient Method invoke;
    private transient MailboxExecutor mailbox;
    private transient ValueState head;
    private transient MapState chunks;
    private transient Row[] records;
    private transient StreamRecord out;
    private transient int count;

    /** Bytes of their values. */
    private transient int bytes;

    /** How many were there when the mail last looked. */
    private transient int seen;

    private transient boolean mailed;
    private transient Counter batches;

    public BatchOperator(
            Object[] references,
            StreamTask task,
            StreamConfig streamConfig,
            Output output,
            ProcessingTimeService timers)
            throws Exception {
        super((Configuration) references[0]);
        opening = (String) references[1];
        payload = (byte[]) references[2];
        size = ((Number) references[3]).intValue();
        sizeBytes = ((Number) references[4]).intValue();
        headDescriptor = (ValueStateDescriptor) references[5];
        chunkDescriptor = (MapStateDescriptor) references[6];
        outputs = (OutputTag[]) references[7];
        places = (String[]) references[8];
        placeHeader = BinaryStringData.fromString((String) references[9]);
        String[] carried = (String[]) references[10];
        carriedHeaders = new BinaryStringData[carried.length];
        for (int i = 0; i < carried.length; i++) {
            carriedHeaders[i] = BinaryStringData.fromString(carried[i]);
        }
        mostCarried = ((Number) references[11]).intValue();
        setup(task, streamConfig, output);
        setProcessingTimeService(timers);
    }

    @Override
    public void setMailboxExecutor(MailboxExecutor executor) {
        super.setMailboxExecutor(executor);
        mailbox = executor; // the superclass keeps its own to itself
    }

    /** The key is set where state is read or written: Flink need not set it for each record. */
    @Override
    public boolean hasKeyContext1() {
        return false;
    }

    @Override
    public void open() throws Exception {
        records = new Row[size];
        out = new StreamRecord(null);
        batches = getMetricGroup().counter("batches");
        super.open();
    }

    @Override
    public void openPythonInterpreter() {
        try {
            if (headDescriptor != null) {
                head = (ValueState) getRuntimeContext().getState(headDescriptor);
                chunks = (MapState) getRuntimeContext().getMapState(chunkDescriptor);
            }
            // Not by its name: in application mode flink-python's jar is the user's jar too, so that
            // this class would see another pemja than its superclass does.
            Field field = AbstractEmbeddedPythonFunctionOperator.class.getDeclaredField("interpreter");
            field.setAccessible(true);
            python = field.get(this);
            // By invokeMethod: pemja's invoke caches a reference that it never had, and gives it up.
            invoke =
                    python.getClass()
                            .getMethod(
                                    "invokeMethod",
                                    new Class[] {String.class, String.class, Object[].class});
            let("operator", this);
            let("payload", payload);
            let("subtask", Integer.valueOf(getRuntimeContext().getTaskInfo().getIndexOfThisSubtask()));
            let("parameters", getRuntimeContext().getGlobalJobParameters());
            execute(opening);
        } catch (RuntimeException e) {
            throw e;
        } catch (Exception e) {
            throw new RuntimeException(e);
        }
    }

    private void let(String name, Object value) throws Exception {
        Method set =
                python.getClass().getMethod("set", new Class[] {String.class, Object.class});
        call(set, new Object[] {name, value});
    }

    private void execute(String code) throws Exception {
        Method exec = python.getClass().getMethod("exec", new Class[] {String.class});
        call(exec, new Object[] {code});
    }

    private Object call(Method method, Object[] arguments) throws Exception {
        try {
            return method.invoke(python, arguments);
        } catch (InvocationTargetException e) {
            if (e.getCause() instanceof Exception) {
                throw (Exception) e.getCause();
            }
            throw e;
        }
    }

    @Override
    public void processElement(StreamRecord element) throws Exception {
        Row record = (Row) element.getValue();
        records[count] = record;
        count++;
        byte[] value = (byte[]) record.getField(VALUE);
        bytes += value == null ? 0 : value.length;
        if (count >= size || bytes >= sizeBytes) {
            flush();
        } else if (!mailed) {
            mailed = true;
            seen = 0;
            mailbox.execute(this, "batch");
        }
    }

    /** A mail: lets the task take one more record if there is one, else works off what waits. */
    @Override
    public void run() throws Exception {
        if (count > seen) {
            seen = count;
            mailbox.execute(this, "batch");
            return;
        }
        mailed = false;
        flush();
    }

    private void flush() throws Exception {
        int n = count;
        if (n == 0) {
            return;
        }
        batches.inc();
        Object[] keys = new Object[n];
        Object[] values = new Object[n];
        byte[] numbers = new byte[NUMBERS * n];
        ByteBuffer into = ByteBuffer.wrap(numbers).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < n; i++) {
            Row record = records[i];
            keys[i] = record.getField(KEY);
            values[i] = record.getField(VALUE);
            into.putInt(((Integer) record.getField(SOURCE)).intValue());
            into.putInt(((Integer) record.getField(PARTITION)).intValue());
            into.putLong(((Long) record.getField(OFFSET)).longValue());
            into.putLong(((Long) record.getField(TIMESTAMP)).longValue());
        }
        Object[] made =
                (Object[])
                        call(
                                invoke,
                                new Object[] {"hop", "batch", new Object[] {numbers, keys, values}});
        // State first, and the batch done with: to put out may hand the thread to others.
        write((Object[]) made[0], (Object[]) made[1]);
        seen = 0;
        count = 0;
        bytes = 0;
        put((byte[]) made[2], (Object[]) made[3], (Object[]) made[4]);
        for (int i = 0; i < n; i++) {
            records[i] = null;
        }
    }

    private void write(Object[] keys, Object[] heads) throws Exception {
        for (int i = 0; i < keys.length; i++) {
            turn((byte[]) keys[i]);
            if (heads[i] == null) {
                head.clear();
            } else {
                head.update(heads[i]);
            }
        }
    }

    /** Puts out records; of each the index of the one that it comes of, and of its output, or 0. */
    private void put(byte[] which, Object[] keys, Object[] values) {
        ByteBuffer of = ByteBuffer.wrap(which).order(ByteOrder.LITTLE_ENDIAN);
        for (int i = 0; i < values.length; i++) {
            Row cause = records[of.getInt()];
            int to = of.getInt();
            if (to == 0) {
                output.collect(out.replace(next(cause, (byte[]) keys[i], values[i])));
            } else {
                GenericRowData row = new GenericRowData(3);
                row.setField(0, keys[i]);
                row.setField(1, values[i]);
                row.setField(2, headers(cause));
                output.collect(outputs[to - 1], out.replace(row));
            }
        }
    }

    private Row next(Row cause, byte[] key, Object value) {
        int width = cause.getArity();
        Row row = new Row(width);
        row.setField(TEXT_KEY, text(key));
        row.setField(SOURCE, cause.getField(SOURCE));
        row.setField(KEY, key);
        row.setField(VALUE, value);
        for (int i = PARTITION; i < width; i++) {
            row.setField(i, cause.getField(i));
        }
        return row;
    }

    private GenericMapData headers(Row cause) {
        LinkedHashMap headers = new LinkedHashMap();
        String place =
                places[((Integer) cause.getField(SOURCE)).intValue()]
                        + cause.getField(PARTITION)
                        + '/'
                        + cause.getField(OFFSET);
        headers.put(placeHeader, place.getBytes(StandardCharsets.UTF_8));
        int left = mostCarried;
        for (int i = 0; i < carriedHeaders.length; i++) {
            byte[] value = (byte[]) cause.getField(HEADERS + i);
            left -= value == null ? 0 : value.length;
        }
        for (int i = 0; i < carriedHeaders.length && left >= 0; i++) {
            Object value = cause.getField(HEADERS + i);
            if (value != null) {
                headers.put(carriedHeaders[i], value);
            }
        }
        return new GenericMapData(headers);
    }

    /** Bytes to text one to one: UTF-8 would fold all invalid keys into one. */
    private static String text(byte[] key) {
        return new String(key, StandardCharsets.ISO_8859_1);
    }

    private void turn(byte[] key) {
        Row row = new Row(1); // a new one each time: Flink may keep it
        row.setField(0, text(key));
        setCurrentKey(row);
    }

    /** Called by Python within a batch, as those below are. */
    public byte[] head(byte[] key) throws Exception {
        turn(key);
        return (byte[]) head.value();
    }

    public byte[] chunk(byte[] key, long number) throws Exception {
        turn(key);
        return (byte[]) chunks.get(Long.valueOf(number));
    }

    public void putChunk(byte[] key, long number, byte[] data) throws Exception {
        turn(key);
        chunks.put(Long.valueOf(number), data);
    }

    public void dropChunk(byte[] key, long number) throws Exception {
        turn(key);
        chunks.remove(Long.valueOf(number));
    }

    @Override
    public void prepareSnapshotPreBarrier(long checkpoint) throws Exception {
        flush();
        super.prepareSnapshotPreBarrier(checkpoint);
    }

    /** Of the superclass: before a barrier, at the end, and once a second. */
    @Override
    protected void invokeFinishBundle() throws Exception {
        flush();
    }

    @Override
    public void processWatermark(Watermark mark) throws Exception {
        flush();
        super.processWatermark(mark);
    }

    @Override
    public void endInput() throws Exception {
        flush();
    }

    @Override
    public void finish() throws Exception {
        flush();
        super.finish();
    }

    @Override
    public void close() throws Exception {
        try {
            if (python != null) {
                execute("'hop' in globals() and hop.close()");
            }
        } finally {
            super.close();
        }
    }
}
