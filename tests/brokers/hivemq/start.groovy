// Starts the broker over the folder named by the argument, and lets everybody in.
import com.hivemq.embedded.EmbeddedExtension
import com.hivemq.embedded.EmbeddedHiveMQ
import com.hivemq.extension.sdk.api.ExtensionMain
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthInput
import com.hivemq.extension.sdk.api.auth.parameter.SimpleAuthOutput
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput
import com.hivemq.extension.sdk.api.services.Services
import com.hivemq.migration.meta.PersistenceType

class Everybody implements SimpleAuthenticator {
    void onConnect(SimpleAuthInput input, SimpleAuthOutput output) { output.authenticateSuccessfully() }
}

class LetIn implements ExtensionMain {
    void extensionStart(ExtensionStartInput input, ExtensionStartOutput output) {
        Services.securityRegistry().setAuthenticatorProvider { new Everybody() }
    }

    void extensionStop(ExtensionStopInput input, ExtensionStopOutput output) {}
}

def folder = java.nio.file.Path.of(args[0])
def extension = EmbeddedExtension.builder()
    .withId("let-in").withName("let-in").withVersion("1").withExtensionMain(new LetIn()).build()
def broker = EmbeddedHiveMQ.builder()
    .withConfigurationFolder(folder.resolve("conf"))
    .withDataFolder(folder.resolve("data"))
    .withExtensionsFolder(folder.resolve("extensions"))
    .withEmbeddedExtension(extension)
    .build()
Runtime.runtime.addShutdownHook(new Thread({ broker.stop().join() }))
broker.start().join()
